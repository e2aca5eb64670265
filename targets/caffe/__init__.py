"""Target `caffe`: the deploy and fake-quant models as prototxt and caffemodel, with their records."""
