"""Every language that is read: grammars (`*.lark`) and schemas (`proto/*.proto`)."""
