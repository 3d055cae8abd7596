"""Writes mlp_step.json beside this file: loss, gradient and parameters of three SGD steps, from PyTorch's autograd.

Run with any Python that has PyTorch 2: python mlp_step.py
Parameters are flat rows in the order fc1.weight, fc1.bias, fc2.weight, ...; a per-task network has one head a task.
"""

import json
import pathlib

import torch
from torch import nn


def case(name, inputs, hidden, classes, bias, heads, task, batch, learning_rate, seed):
    torch.manual_seed(seed)
    widths = [inputs, *hidden]
    body = [nn.Linear(a, b, bias=bias) for a, b in zip(widths, widths[1:])]
    tails = [nn.Linear(widths[-1], classes, bias=bias) for _ in range(heads)]
    parameters = [p for layer in [*body, *tails] for p in layer.parameters()]

    def flat(tensors):
        return [round(v, 9) for t in tensors for v in t.detach().flatten().tolist()]

    # Inputs with three decimals are the same numbers when read from JSON.
    x = (torch.randn(3, batch, inputs) * 1000).round() / 1000
    y = torch.randint(classes, (3, batch))
    result = {
        "name": name, "inputs": inputs, "hidden": hidden, "classes": classes, "bias": bias,
        "per_task": heads > 1, "tasks": heads, "task": task, "learning_rate": learning_rate,
        "initial": flat(parameters), "steps": [],
    }
    for step in range(3):
        value = x[step]
        for layer in body:
            value = torch.relu(layer(value))
        loss = nn.functional.cross_entropy(tails[task](value), y[step])
        for p in parameters:
            p.grad = torch.zeros_like(p)
        loss.backward()
        gradient = flat([p.grad for p in parameters])
        with torch.no_grad():
            for p in parameters:
                p -= learning_rate * p.grad
        result["steps"].append({
            "x": [[round(v, 3) for v in row] for row in x[step].tolist()], "y": y[step].tolist(),
            "loss": loss.item(), "gradient": gradient, "parameters": flat(parameters),
        })
    return result


cases = [
    case("shared head, biases", 7, [6, 5], 4, True, 1, 0, 5, 0.3, 1),
    case("shared head, no biases", 9, [8], 3, False, 1, 0, 4, 0.2, 2),
    case("head per task, biases", 6, [5], 2, True, 3, 1, 3, 0.5, 3),
]
document = {"format": "mlp-step/1", "origin": f"PyTorch {torch.__version__.split('+')[0]}, f32, CPU", "cases": cases}
path = pathlib.Path(__file__).with_name("mlp_step.json")
path.write_text(json.dumps(document) + "\n")
