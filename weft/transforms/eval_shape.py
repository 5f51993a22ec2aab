"""placeholder"""
def eval_shape(*a): raise NotImplementedError
def spec(*a): raise NotImplementedError
