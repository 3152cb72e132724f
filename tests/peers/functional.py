"""What torch.nn.functional makes of every primitive: of the same arguments, in the number type of the input.

Inputs and results have a batch; dimensions in the arguments do not count it, as in talon_lib.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)


def tensor(values, like=None):
    """A tensor of numbers, in the type of ``like`` or float32."""
    return torch.tensor(np.asarray(values), dtype=torch.float32 if like is None else like.dtype)


def after_batch(dim):
    return dim if dim < 0 else dim + 1


def linear(x, weight, bias=None, **hints):
    """hints: of a SpikingAffine; they change no float."""
    return F.linear(x, tensor(weight, x), None if bias is None else tensor(bias, x))


def convolution(function):
    def convolve(x, weight, bias=None, **arguments):
        return function(x, tensor(weight, x), None if bias is None else tensor(bias, x), **arguments)

    return convolve


def separable(x, depthwise_weight, pointwise_weight, depthwise_bias=None, pointwise_bias=None, **arguments):
    between = FUNCTIONS["Conv2d"](x, depthwise_weight, depthwise_bias, groups=len(depthwise_weight), **arguments)
    return FUNCTIONS["Conv2d"](between, pointwise_weight, pointwise_bias)


def upsample(x, mode="nearest", align_corners=False, size=None, scale_factor=2):
    factor = tuple(map(float, scale_factor)) if isinstance(scale_factor, (list, tuple)) else scale_factor
    given = {"scale_factor": factor} if size is None else {"size": size}
    return F.interpolate(x, mode=mode, **given, align_corners=None if mode == "nearest" else align_corners)


def batch_norm(x, num_features, weight, bias, running_mean, running_var, eps=1e-5):
    given = [None if value is None else tensor(value, x) for value in (running_mean, running_var, weight, bias)]
    return F.batch_norm(x, *given, training=False, eps=eps)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    weight, bias = (None if value is None else tensor(value, x) for value in (weight, bias))
    return F.layer_norm(x, normalized_shape, weight, bias, eps)


def skip(*inputs, skip_type="residual"):
    if skip_type.startswith("concat"):
        return torch.cat(inputs, 1)
    return sum(inputs[1:], start=inputs[0])


def spread(values, x):
    """One value, one per channel, or one per value, over the input."""
    values = tensor(values, x)
    if values.ndim == 1 and values.shape != x.shape[1:] and len(values) > 1:
        values = values.reshape(-1, *(1 for _ in x.shape[2:]))
    return values.expand(x.shape[1:])


def sum_pool(x, kernel_size, stride=None, padding=0, ceil_mode=False):
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, divisor_override=1)


FUNCTIONS = {
    "Input": lambda x, input_type: x,
    "Output": lambda x, output_type: x,
    "HybridRegion": lambda x, mode: x,
    "Flatten": lambda x, start_dim=0, end_dim=-1: torch.flatten(x, after_batch(start_dim), after_batch(end_dim)),
    "Concat": lambda *xs, num_inputs=2, dim=0: torch.cat(xs, after_batch(dim)),
    "ChannelSplit": lambda x, split_sections, dim=0: torch.split(x, list(split_sections), after_batch(dim)),
    "Skip": skip,
    "Affine": linear,
    "SpikingAffine": linear,
    "Conv1d": convolution(F.conv1d),
    "Conv2d": convolution(F.conv2d),
    "SepConv2d": separable,
    "MaxPool2d": F.max_pool2d,
    "AvgPool2d": F.avg_pool2d,
    "SumPool2d": sum_pool,
    "Scale": lambda x, scale: x * spread(scale, x),
    "Threshold": lambda x, threshold: (x > spread(threshold, x)).to(x.dtype),
    "Upsample": upsample,
    "BatchNorm1d": batch_norm,
    "BatchNorm2d": batch_norm,
    "LayerNorm": layer_norm,
    "ReLU": lambda x, features=None, negative_slope=0.0: F.leaky_relu(x, negative_slope),
    "PReLU": lambda x, features, weight: F.prelu(x, tensor(weight, x)),
    "Sigmoid": lambda x, features=None: torch.sigmoid(x),
    "Tanh": lambda x, features=None: torch.tanh(x),
    "GELU": lambda x, features=None, approximate=True: F.gelu(x, approximate="tanh" if approximate else "none"),
    "ELU": lambda x, features=None, alpha=1.0: F.elu(x, alpha),
    "Softmax": lambda x, features=None, dim=-1: F.softmax(x, after_batch(dim)),
    "Dropout": lambda x, features=None, p=0.5: F.dropout(x, p, training=False),
}
