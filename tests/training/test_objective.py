"""What training minimises, against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mar_edge.geometry import Geometry
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR
from mar_edge.training.objective import Batch, ClassWeights, DistilPart, Objective, ObjectivePart, rarity_weights

CONFIG = ModelConfig(
    geometry=Geometry(frames=4, height_px=32, width_px=32),
    width=24, depth=1, heads=2, classes=3,
    bridge_width=16, bridge_depth=1, bridge_heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2,
)  # fmt: skip


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        clips=torch.randint(0, 256, (2, 4, 32, 32, 3), generator=generator, dtype=torch.uint8),
        targets=torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.3, 0.7]]),
        flows=torch.zeros(2, 8, 2),
        visible=torch.tensor([[0, 3, 5, 6], [1, 2, 4, 7]]),
        masked=torch.tensor([[1, 2, 4, 7], [0, 3, 5, 6]]),
        files=("a", "b"),
    )


def silent(model: MAR) -> MAR:
    """Make a model say the same of everything: all its logits are 0."""
    with torch.no_grad():
        model.get_parameter("classifier.head.weight").zero_()
    return model


def test_cross_entropy_of_a_model_that_knows_nothing(batch: Batch) -> None:
    losses = Objective(silent(build(CONFIG)), ObjectivePart(reconstruction_weight=0))(batch)
    assert losses.parts.keys() == {"classification"}
    assert losses.total.item() == pytest.approx(math.log(3), rel=1e-6)
    assert losses.logits.shape == (2, 3)


def test_class_weights_and_label_smoothing(batch: Batch) -> None:
    weights = torch.tensor([3.0, 1.0, 1.0])
    settings = ObjectivePart(reconstruction_weight=0, label_smoothing=0.3)
    loss = Objective(silent(build(CONFIG)), settings, class_weights=weights)(batch).total.detach()
    # every logit is 0, so a clip costs ln 3 times the weight that its smoothed target falls on
    smoothed = 0.7 * batch.targets + 0.1
    assert float(loss) == pytest.approx(math.log(3) * float((smoothed * weights).sum()) / 2, rel=1e-6)


@pytest.mark.parametrize(("kind", "ratio"), [("balanced", 3), ("root", 3**0.5)])
def test_rare_classes_weigh_more(kind: ClassWeights, ratio: float) -> None:
    weights = rarity_weights(torch.tensor([30, 10, 0]), kind)
    assert weights is not None
    assert weights[1] == pytest.approx(ratio * weights[0])
    assert float(30 * weights[0] + 10 * weights[1]) == pytest.approx(40)
    assert rarity_weights(torch.tensor([30, 10, 0]), "none") is None


def test_the_weights_of_the_parts(batch: Batch) -> None:
    objective = Objective(build(CONFIG), ObjectivePart(reconstruction_weight=0.25, flow_weight=2.0))
    losses = objective(batch)
    parts = losses.parts
    expected = parts["classification"] + 0.25 * parts["reconstruction"] + 2 * parts["flow"]
    assert losses.total.item() == pytest.approx(float(expected), rel=1e-6)
    losses.total.backward()
    assert all(p.grad is not None for n, p in objective.named_parameters()), "every parameter is reached"


def test_without_reconstruction_the_decoder_is_left_out(batch: Batch) -> None:
    objective = Objective(build(CONFIG), ObjectivePart(reconstruction_weight=0))
    objective(batch).total.backward()
    trainable = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert trainable
    assert not any("decoder" in name for name in trainable)
    assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn_from_it(batch: Batch) -> None:
    dense = Batch(**{**vars(batch), "visible": torch.arange(8).expand(2, -1), "masked": batch.masked[:, :0]})
    teacher = build(CONFIG)
    settings = ObjectivePart(reconstruction_weight=0, distil=DistilPart(teacher="t.safetensors", temperature=2.0))
    same = Objective(teacher, settings, teacher=teacher)
    assert float(same(dense).parts["distillation"]) == pytest.approx(0, abs=1e-6)
    student = Objective(build(CONFIG), settings, teacher=build(CONFIG))
    losses = student(batch)
    assert float(losses.parts["distillation"]) > 1e-4
    losses.total.backward()
    assert not any("teacher" in name for name in student.state_dict()), "a teacher is no part of the student"


def test_tokens_of_a_wider_teacher(batch: Batch) -> None:
    settings = DistilPart(teacher="t.safetensors", logits_weight=0, tokens_weight=1.0)
    wider = build(ModelConfig(**{**vars(CONFIG), "width": 48}))
    objective = Objective(build(CONFIG), ObjectivePart(reconstruction_weight=0, distil=settings), teacher=wider)
    losses = objective(batch)
    assert losses.parts.keys() == {"classification", "tokens"}
    losses.total.backward()
    assert objective.token_map is not None
    assert objective.token_map.weight.grad is not None
    assert all(p.grad is None for p in wider.parameters())
