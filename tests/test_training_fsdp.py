"""Under FSDP2, two processes with half batches and half tables end as one process does."""

from __future__ import annotations

import json
import shutil
import warnings
from typing import Any

import pytest
import tiny
import torch
from bank_training import bank_weights, is_same, with_new_banks
from fsdp_processes import CASES, STEPS, work
from safetensors.torch import load_file
from torch.testing import assert_close
from training_processes import PROCESSES, trained
from transformers import AutoModelForCausalLM

from engram_transformers import load_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.file_errors import OtherCheckpointWarning
from engram_transformers.banks.optimiser import RowAdam
from engram_transformers.banks.row_exchange import RowRange
from engram_transformers.training.errors import JointStateError
from engram_transformers.training.joint_optimiser import JointOptimiser
from engram_transformers.training.sharded_state import load_sharded_state

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]
KINDS = ("FULL_STATE_DICT", "SHARDED_STATE_DICT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fsdp")


@pytest.fixture(scope="module")
def outcomes(folder) -> list[dict[str, Any]]:
    """What each process found: case -> outcome, or a traceback."""
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=PROCESSES)
    files = [folder / f"outcomes-{rank}.pt" for rank in range(PROCESSES)]
    return [torch.load(file, weights_only=False) for file in files]


def of_all(outcomes, name) -> list[dict[str, Any]]:
    for rank, found in enumerate(outcomes):
        assert not isinstance(found[name], str), f"Process {rank}:\n{found[name]}"
    return [found[name] for found in outcomes]


def alone(name: str, folder, **more: Any) -> dict[str, Any]:
    """Return what one process ends with that takes the whole batches."""
    of_case = {**STEPS, **CASES.get(name, {}), **more}
    return trained("lora" if name == "lora" else "plain", folder, 1, **of_case)


def assert_same_end(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Tolerances: sums over processes come in another order, and Adam divides by small roots."""
    for name in ("banks", "base", "norms"):
        assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_as_one_with_whole_batches(outcomes, tmp_path, case):
    first, second = of_all(outcomes, case)
    expected = alone(case, tmp_path)
    assert_same_end(first, expected)
    assert is_same(first["banks"], second["banks"])
    assert is_same(first["base"], second["base"])
    assert first["rates"] == pytest.approx(expected["rates"])
    assert first["activity"]
    new = bank_weights(with_new_banks().double())
    assert not torch.allclose(first["banks"]["1.table.weight"], new["1.table.weight"], atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_each_process_has_and_remembers_its_own_rows_alone(outcomes, tmp_path, case):
    both = of_all(outcomes, case)
    expected = alone(case, tmp_path)
    tables = require_attachment(with_new_banks()).banks
    for number, (layer, bank) in enumerate(sorted(tables.items())):
        rows = [one["own"][layer][0] for one in both]
        assert sum(rows) == bank.bank_hash.rows
        assert rows == [-(-sum(rows) // 2), sum(rows) // 2]
        touched = [one["known"][number] + one["first"][number] for one in both]
        assert all(len(part) for part in touched)
        numbers = sorted(expected["rows"])
        assert torch.equal(torch.cat(touched), expected["rows"][numbers[number]]["rows"])


def test_the_base_is_sharded_and_its_flags_are_put_back(outcomes):
    first, _ = of_all(outcomes, "plain")
    assert first["sharded"] == len(first["base"])
    fresh = with_new_banks()
    assert first["flags"] == [weight.requires_grad for weight in fresh.parameters()]
    assert is_same(
        {name: weight.float() for name, weight in first["base"].items()},
        {n: w for n, w in fresh.named_parameters() if ".engram_bank." not in n},
    )


def test_a_model_that_its_caller_has_sharded_is_trained_as_it_is(outcomes):
    (given, _), (plain, _) = of_all(outcomes, "by the caller"), of_all(outcomes, "plain")
    assert given["sharded"] == plain["sharded"]
    assert given["flags"] == plain["flags"]
    assert_same_end(given, plain)


def test_bfloat16_computes_the_base_alone(outcomes):
    """bfloat16 has 8 bits: losses agree to about 1 %, and tables stay as they were made."""
    (first, second), (plain, _) = of_all(outcomes, "bf16"), of_all(outcomes, "plain")
    assert is_same(first["banks"], second["banks"])
    assert first["losses"] == pytest.approx(plain["losses"], rel=1e-2)
    assert first["losses"] != plain["losses"]
    assert first["banks"]["1.table.weight"].dtype == plain["banks"]["1.table.weight"].dtype


def test_all_processes_stop_where_one_has_a_loss_that_is_no_number(outcomes):
    first, second = of_all(outcomes, "stopped")
    assert (first["error"]["step"], second["error"]["step"]) == (2, 2)
    assert first["error"]["what"] != "loss"
    assert second["error"]["what"] == "loss"


def test_a_row_that_overflows_in_one_process_is_known_to_all_scalers(outcomes):
    for found in of_all(outcomes, "scaled"):
        assert found["sound"] == [True, True]
        assert found["not finite"] == [False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_bit_for_bit_as_the_whole_one(outcomes, kind):
    for found in of_all(outcomes, kind):
        assert is_same(found["resumed"]["banks"], found["whole"]["banks"])
        assert is_same(found["resumed"]["base"], found["whole"]["base"])
        assert found["resumed"]["rates"] == found["whole"]["rates"]


def test_the_whole_base_learns_as_in_one_process(outcomes, tmp_path):
    first, _ = of_all(outcomes, "FULL_STATE_DICT")
    assert_same_end(first["whole"], alone("plain", tmp_path, freeze_base=False))


def test_a_checkpoint_that_fsdp_has_not_made_is_refused(outcomes):
    for found in of_all(outcomes, "FULL_STATE_DICT"):
        assert "it is no checkpoint of FSDP. Resume it without" in found["refused"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["last", "whole/checkpoint-2"])
def test_what_is_saved_is_loaded_by_one_process(outcomes, folder, kind, where):
    """The files of banks are those of any other training."""
    first, _ = of_all(outcomes, kind)
    saved = folder / kind / where
    told = json.loads((saved / "engram_config.json").read_text("utf-8"))
    assert told["model"]["name"] == "LlamaForCausalLM"
    model = tiny.tiny_model("llama").double()
    with warnings.catch_warnings():
        if kind == "FULL_STATE_DICT":  # its base has learned, too
            warnings.simplefilter("ignore", OtherCheckpointWarning)
        load_engram(model, saved, tiny.tiny_tokenizer())
    found = bank_weights(model)
    assert is_same(found, first["whole"]["banks"]) == (where == "last")
    assert found.keys() == first["whole"]["banks"].keys()
    if where == "last":  # what binds tables of users to banks
        assert require_attachment(model).bank_fingerprint() == first["whole"]["digest"]


def test_a_full_state_dict_is_a_clean_base(outcomes, folder):
    first, _ = of_all(outcomes, "FULL_STATE_DICT")
    weights = load_file(folder / "FULL_STATE_DICT" / "last" / "model.safetensors")
    assert not any("engram" in name for name in weights)
    loaded = AutoModelForCausalLM.from_pretrained(
        folder / "FULL_STATE_DICT" / "last", dtype=torch.float64
    )
    assert is_same(dict(loaded.named_parameters()), first["whole"]["base"])


def restored(folder, processes: int) -> list[dict[int, dict[str, torch.Tensor]]]:
    """Return what each of some processes takes out of a checkpoint, of each table."""
    banks = [bank for _, bank in sorted(require_attachment(with_new_banks()).banks.items())]
    named = [
        (name, torch.nn.Parameter(weight.detach().double()))
        for name, weight in with_new_banks().named_parameters()
        if ".engram_bank." in name and not name.endswith("table.weight")
    ]
    found = []
    for process in range(processes):
        shares = [RowRange(bank.bank_hash.rows, processes, process) for bank in banks]
        tables = [
            (f"layer {bank.layer} table", torch.zeros(share.last - share.first, 4).double())
            for bank, share in zip(banks, shares, strict=True)
        ]
        decays = [pair for pair in named if not pair[0].endswith(("bias", "norm"))]
        others = [pair for pair in named if pair[0].endswith(("bias", "norm"))]
        dense = torch.optim.AdamW([{"params": decays}, {"params": others}])
        joint = JointOptimiser(dense, RowAdam(tables))
        assert load_sharded_state(joint, shares, folder)
        state = joint.rows.state_dict()["state"]
        for number, share in enumerate(shares):
            state[number]["rows"] += share.first
        assert len(joint.dense.state) == len(named)
        found.append(state)
    return found


@pytest.mark.parametrize("processes", [1, 3])
def test_another_number_of_processes_resumes_the_same_state(outcomes, folder, processes):
    of_all(outcomes, "SHARDED_STATE_DICT")
    checkpoint = folder / "SHARDED_STATE_DICT" / "whole" / "checkpoint-2"
    both, found = restored(checkpoint, 2), restored(checkpoint, processes)
    for number in (0, 1):
        for entry in ("rows", "step", "exp_avg", "exp_avg_sq"):
            one = torch.cat([state[number][entry] for state in both])
            other = torch.cat([state[number][entry] for state in found])
            assert len(one)
            assert torch.equal(one, other)


def test_a_checkpoint_with_a_process_s_file_missing_is_refused(outcomes, folder, tmp_path):
    of_all(outcomes, "SHARDED_STATE_DICT")
    checkpoint = folder / "SHARDED_STATE_DICT" / "whole" / "checkpoint-2"
    first = checkpoint / "engram_optimiser-00000-of-00002.safetensors"
    shutil.copy(first, tmp_path)
    with pytest.raises(JointStateError, match=r"lacks engram_optimiser-00001-of-00002"):
        restored(tmp_path, 2)
    shutil.copy(first, tmp_path / "engram_optimiser-00001-of-00002.safetensors")
    (tmp_path / "engram_optimiser-00000-of-00001.safetensors").touch()
    with pytest.raises(JointStateError, match="of another number of processes"):
        restored(tmp_path, 2)
