"""The caffe dialect: the layers of BVLC Caffe at inference, and those of other Caffes that real files hold.

Their rows are gathered in `ops`.
"""
