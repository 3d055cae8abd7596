"""Writes conv_step.json beside this file: loss, gradient and parameters of three SGD steps of small convolutional networks,
and patches of a convolution, from PyTorch's autograd and unfold.

Run with any Python that has PyTorch 2: python conv_step.py
Rows hold tensors in the order of the modules. `layers` is each network's list of layers as an experiment file has it.
Batch normalisation has no running statistics; dropout is left out.
"""

import json
import pathlib

import torch
from torch import nn
from torch.nn import functional


class EvoNorm(nn.Module):
    """EvoNorm-S0 (Liu et al. 2020) with the variance over all numbers of a group."""

    def __init__(self, channels, groups):
        super().__init__()
        self.v, self.weight = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.ones(channels))
        self.bias, self.groups = nn.Parameter(torch.zeros(channels)), groups

    def forward(self, x):
        per_channel = [1, -1, 1, 1]
        variance = x.reshape(len(x), self.groups, -1).var(dim=2, unbiased=False)
        scale = (variance + 1e-5).rsqrt().repeat_interleave(x.shape[1] // self.groups, dim=1)
        value = x * torch.sigmoid(self.v.view(per_channel) * x) * scale[:, :, None, None]
        return value * self.weight.view(per_channel) + self.bias.view(per_channel)


class Residual(nn.Module):
    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x):
        return self.main(x) + self.shortcut(x)


def module(layer):
    kind = layer["kind"]
    if kind == "linear":
        return [nn.Flatten(), nn.Linear(layer["inputs"], layer["outputs"], bias=layer["bias"])]
    if kind == "conv":
        keys = ("in_channels", "out_channels", "kernel", "stride", "padding")
        return [nn.Conv2d(*(layer[key] for key in keys), bias=layer["bias"])]
    if kind == "relu":
        return [nn.ReLU()]
    if kind == "max-pool":
        return [nn.MaxPool2d(layer["kernel"], layer["stride"], layer["padding"])]
    if kind == "avg-pool":
        return [nn.AvgPool2d(layer["kernel"], layer["stride"])]
    if kind == "global-avg-pool":
        return [nn.AdaptiveAvgPool2d(1)]
    if kind == "batch-norm":
        norm = nn.BatchNorm1d if layer.get("flat") else nn.BatchNorm2d
        return [norm(layer["features"], track_running_stats=False)]
    if kind == "evo-norm":
        return [EvoNorm(layer["channels"], layer["groups"])]
    if kind == "local-response-norm":
        return [nn.LocalResponseNorm(layer["size"], layer["alpha"], layer["beta"], layer["k"])]
    return [Residual(network(layer["main"]), network(layer["shortcut"]))]


def network(layers):
    return nn.Sequential(*(part for layer in layers for part in module(layer)))


def conv(a, b, kernel, stride=1, padding=0, bias=False):
    return dict(kind="conv", in_channels=a, out_channels=b, kernel=kernel, stride=stride, padding=padding, bias=bias)


def linear(a, b, bias=False):
    return dict(kind="linear", inputs=a, outputs=b, bias=bias)


def bn(features, flat=False):
    return dict(kind="batch-norm", features=features, **({"flat": True} if flat else {}))


def pool(kernel, stride=None, padding=0):
    return dict(kind="max-pool", kernel=kernel, stride=stride or kernel, padding=padding)


def block(a, b, stride, norm):
    act = [] if norm is evo else [RELU]
    shortcut = [] if a == b and stride == 1 else [conv(a, b, 1, stride)] + ([] if norm is evo else [norm(b)])
    main = [conv(a, b, 3, stride, 1), norm(b), *act, conv(b, b, 3, 1, 1), norm(b)]
    return [dict(kind="residual", main=main, shortcut=shortcut), *act]


def evo(channels):
    return dict(kind="evo-norm", channels=channels, groups=2)


RELU = {"kind": "relu"}
LRN = dict(kind="local-response-norm", size=4, alpha=0.001 / 9, beta=0.75, k=1.0)
NETWORKS = {
    "lenet-5": ([1, 12, 12], [conv(1, 3, 5, 1, 2, True), RELU, pool(2), conv(3, 4, 5, 1, 0, True), RELU, pool(2),
                              linear(4, 6, True), RELU, linear(6, 5, True), RELU]),
    "alexnet": ([3, 15, 15], [conv(3, 4, 4), bn(4), RELU, pool(2), conv(4, 6, 3), bn(6), RELU, pool(2),
                              conv(6, 8, 2), bn(8), RELU, linear(8, 7), bn(7, True), RELU]),
    "lenet-superclass": ([3, 9, 9], [conv(3, 6, 5, 1, 2), RELU, pool(3, 2, 1), LRN, linear(150, 5), RELU]),
    "cnn5": ([3, 8, 8], [conv(3, 4, 3, 1, 1), evo(4), conv(4, 4, 3, 1, 1), evo(4), pool(2), conv(4, 6, 3, 1, 1), evo(6),
                         pool(2)]),
    "vgg-11": ([3, 8, 8], [conv(3, 4, 3, 1, 1), bn(4), RELU, pool(2), conv(4, 6, 3, 1, 1), bn(6), RELU, pool(2),
                           conv(6, 6, 3, 1, 1), bn(6), RELU, pool(2)]),
    "resnet-20": ([3, 8, 8], [conv(3, 4, 3, 1, 1), evo(4), *block(4, 4, 1, evo), *block(4, 6, 2, evo),
                              dict(kind="global-avg-pool")]),
    "resnet-18": ([3, 8, 8], [conv(3, 4, 3, 1, 1), bn(4), RELU, *block(4, 4, 1, bn), *block(4, 6, 2, bn),
                              dict(kind="avg-pool", kernel=2, stride=2)]),
}


def flat(tensors):
    return [float(f"{v:.7g}") for t in tensors for v in t.detach().flatten().tolist()]


def case(seed, name, shape, layers, batch=3, classes=3, rate=0.1):
    torch.manual_seed(seed)
    body = network(layers)
    # Three decimals are the same numbers when read from JSON.
    x = (torch.randn(3, batch, *shape) * 1000).round() / 1000
    y = torch.randint(classes, (3, batch))
    features = body(x[0]).flatten(1).shape[1]
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(features, classes, bias=False))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((p * 10000).round() / 10000)
    parameters = list(model.parameters())
    for layer in layers:
        layer.pop("flat", None)
    result = dict(name=name, input=shape, layers=layers, classes=classes, learning_rate=rate,
                  initial=flat(parameters), steps=[])
    for step in range(3):
        loss = functional.cross_entropy(model(x[step]), y[step])
        model.zero_grad()
        loss.backward()
        gradient = flat([p.grad for p in parameters])
        with torch.no_grad():
            for p in parameters:
                p -= rate * p.grad
        result["steps"].append(dict(x=[[round(v, 3) for v in row] for row in x[step].flatten(1).tolist()],
                                    y=y[step].tolist(), loss=loss.item()))
        if step == 0:
            result["steps"][0]["gradient"] = gradient
    result["parameters"] = flat(parameters)
    return result


def unfolded(kernel, stride, padding):
    x = torch.arange(2 * 2 * 5 * 4, dtype=torch.float32).reshape(2, 2, 5, 4)
    rows = functional.unfold(x, kernel, stride=stride, padding=padding).transpose(1, 2).flatten(0, 1)
    return dict(kernel=kernel, stride=stride, padding=padding, rows=[[int(v) for v in row] for row in rows.tolist()])


cases = [case(seed, name, *shape_and_layers) for seed, (name, shape_and_layers) in enumerate(NETWORKS.items(), 1)]
patches = [unfolded(3, 1, 1), unfolded(2, 2, 0), unfolded(3, 2, 1)]
document = {"format": "conv-step/1", "origin": f"PyTorch {torch.__version__.split('+')[0]}, f32, CPU",
            "cases": cases, "patches": patches}
path = pathlib.Path(__file__).with_name("conv_step.json")
path.write_text(json.dumps(document, separators=(",", ":")) + "\n")
