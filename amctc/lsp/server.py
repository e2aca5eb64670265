"""The language server itself: pygls in front, the answers of the other modules behind."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from amctc.diagnostics import DiagnosticError
from amctc.lsp.completion import complete, is_value
from amctc.lsp.findings import find, fix_of, kind_of
from amctc.lsp.hover import hover
from amctc.lsp.near_model import NearModel, near_model
from amctc.lsp.positions import Positions
from amctc.lsp.protocol import edit_of, item_of, range_of, to_lsp
from amctc.policy.read import is_json
from amctc.source import SourceFile
from amctc.text.prototext_format import format_prototext

TRIGGERS = ('"', ":", " ")
"""After these characters an editor asks what may follow."""


class Document:
    """One open text, as the answers need it."""

    def __init__(self, server: LanguageServer, uri: str) -> None:
        document = server.workspace.get_text_document(uri)
        path = to_fs_path(uri)
        encoding = types.PositionEncodingKind(server.workspace.position_encoding or "utf-16")
        self.uri = uri
        self.version = document.version
        self.path = Path(path) if path is not None else None
        self.source = SourceFile(path or uri, document.source)
        self.positions = Positions(document.source, encoding.value)

    @property
    def is_policy(self) -> bool:
        """Whether it is a .cfg policy, and neither a net nor a JSON layer config."""
        return kind_of(self.path) == "policy" and not is_json(self.source)

    @property
    def model(self) -> NearModel | None:
        """The model next to the policy."""
        return near_model(self.source, self.path)[0]

    def offset(self, position: types.Position) -> int:
        return self.positions.offset(position.line, position.character)


def serve() -> None:
    """Answer an editor on standard input and output until it says goodbye."""
    make_server().start_io()


def make_server() -> LanguageServer:
    """A server with every feature, not started."""
    # Texts come whole: policies are short, and what counts as a line is then nobody's question.
    server = LanguageServer("amctc", version("amctc"), text_document_sync_kind=types.TextDocumentSyncKind.Full)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(_opened)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(_changed)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(_saved)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_closed)
    completing = types.CompletionOptions(trigger_characters=list(TRIGGERS))
    server.feature(types.TEXT_DOCUMENT_COMPLETION, completing)(_complete)
    server.feature(types.TEXT_DOCUMENT_HOVER)(_hover)
    server.feature(types.TEXT_DOCUMENT_FORMATTING)(_format)
    fixing = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, fixing)(_fixes)
    return server


def _opened(server: LanguageServer, params: types.DidOpenTextDocumentParams) -> None:
    _publish(server, params.text_document.uri)


def _changed(server: LanguageServer, params: types.DidChangeTextDocumentParams) -> None:
    _publish(server, params.text_document.uri)


def _saved(server: LanguageServer, params: types.DidSaveTextDocumentParams) -> None:
    # The model next to the policy may have been saved since.
    _publish(server, params.text_document.uri)


def _closed(server: LanguageServer, params: types.DidCloseTextDocumentParams) -> None:
    server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(params.text_document.uri, []))


def _publish(server: LanguageServer, uri: str) -> None:
    document = Document(server, uri)
    found = [to_lsp(each, document.positions, uri) for each in find(document.source, document.path)]
    server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, document.version))


def _complete(server: LanguageServer, params: types.CompletionParams) -> list[types.CompletionItem]:
    document = Document(server, params.text_document.uri)
    if not document.is_policy:
        return []
    offset = document.offset(params.position)
    asked_by_space = params.context is not None and params.context.trigger_character == " "
    if asked_by_space and not is_value(document.source.text, offset):
        return []
    found = complete(document.source.text, offset, document.model)
    snippets = _takes_snippets(server.client_capabilities)
    return [item_of(each, place, document.positions, snippets) for place, each in enumerate(found)]


def _takes_snippets(client: types.ClientCapabilities) -> bool:
    asked = client.text_document.completion if client.text_document is not None else None
    item = asked.completion_item if asked is not None else None
    return bool(item is not None and item.snippet_support)


def _hover(server: LanguageServer, params: types.HoverParams) -> types.Hover | None:
    document = Document(server, params.text_document.uri)
    if not document.is_policy:
        return None
    found = hover(document.source.text, document.offset(params.position), document.model)
    if found is None:
        return None
    text = types.MarkupContent(types.MarkupKind.Markdown, found.text)
    return types.Hover(text, range_of(document.positions, found.start, found.end))


def _format(server: LanguageServer, params: types.DocumentFormattingParams) -> list[types.TextEdit]:
    """The whole text anew; nothing where it has a syntax error, which a diagnostic tells."""
    document = Document(server, params.text_document.uri)
    text = document.source.text
    if kind_of(document.path) is None:
        return []
    try:
        formatted = format_prototext(document.source)
    except DiagnosticError:
        return []
    return [edit_of(document.positions, 0, len(text), formatted)] if formatted != text else []


def _fixes(server: LanguageServer, params: types.CodeActionParams) -> list[types.CodeAction]:
    document = Document(server, params.text_document.uri)
    first, last = document.offset(params.range.start), document.offset(params.range.end)
    actions: list[types.CodeAction] = []
    for diagnostic in find(document.source, document.path):
        fix = fix_of(diagnostic)
        if fix is None or fix.span.source is not document.source or fix.span.start > last or fix.span.end < first:
            continue
        edit = edit_of(document.positions, fix.span.start, fix.span.end, fix.text)
        actions.append(
            types.CodeAction(
                title=fix.title,
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[to_lsp(diagnostic, document.positions, document.uri)],
                is_preferred=True,
                edit=types.WorkspaceEdit(changes={document.uri: [edit]}),
            )
        )
    return actions
