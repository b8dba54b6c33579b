"""Promises of the benchmark suite: every benchmark runs, and pages show what was measured."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from pathlib import Path

import pytest
import tiny
import torch
from benchmark_setting import setting_of

from benchmarks import __main__ as runner
from benchmarks import common, pages, promises, summary
from benchmarks.setting import Setting
from engram_transformers.banks import offloaded

MEASURED_HERE = (
    "density",
    "exact_match",
    "contexts",
    "chat",
    "stacking",
    "conflict",
    "storage",
    "overhead",
    "offload",
)


@pytest.fixture
def results_folder(monkeypatch, tmp_path):
    folder = tmp_path / "results"
    monkeypatch.setattr(common, "RESULTS", folder)
    return folder


def tiny_setting(name, *arguments) -> Setting:
    """Return the setting of a quick run, with a benchmark's own defaults."""
    parser = argparse.ArgumentParser()
    runner.load(name).add_arguments(parser)
    options = parser.parse_args(arguments)
    return setting_of(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), options=options)


@functools.cache
def quick_run(name):
    """Return the results of a quick run on a tiny model, made once."""
    return runner.load(name).run(tiny_setting(name))


def described(results, **fields):
    """Return results as they are read from a file, with what the runner adds."""
    environment = {
        "device": "a CPU",
        "threads": 1,
        "commit": "c0ffee",
        "torch": "2",
        "transformers": "5",
    }
    common_fields = {"model": "tiny", "dtype": "float32", "environment": environment}
    return json.loads(json.dumps({**common_fields, **results, **fields}))


def test_list_names_every_benchmark(capsys):
    runner.main(["list"])
    shown = capsys.readouterr().out
    for name in runner.NAMES:
        assert f"{name} " in shown
        module = runner.load(name)
        assert isinstance(module.NEEDS_MODEL, bool)
        assert all(callable(getattr(module, part)) for part in ("add_arguments", "run", "section"))


@pytest.mark.parametrize("name", MEASURED_HERE)
def test_a_benchmark_runs_and_its_section_is_made_from_json(name):
    module = runner.load(name)
    run = described(quick_run(name))
    lines = module.section([run, run])
    assert lines[0].startswith("## ")
    assert all("\n" not in line for line in lines)
    text = "\n".join(lines)
    assert "tiny, float32, a CPU" in text
    if hasattr(module, "plot"):
        assert pages.svg(module.plot([run]), "1") == pages.svg(module.plot([run]), "1")


def test_every_fact_is_counted_however_dense():
    run = quick_run("density")
    points = run["sources"][0]["points"]
    assert [point["asked"] for point in points] == [point["facts"] for point in points] == [3, 6]
    for point in points:
        assert point["left_out"] == 0
        assert point["forced"] == point["first"] == point["asked"]
        assert sum(kind["asked"] for kind in point["kinds"].values()) == point["asked"]


def test_banks_wherever_they_are_take_turns_and_compute_the_same(monkeypatch):
    (prefill, decode) = quick_run("offload")["cases"]
    assert (prefill["kind"], decode["kind"]) == ("prefill", "decode")
    for case in (prefill, decode):
        assert set(case["tokens_per_second"]) == {"no bank", "device", "host", "disk"}
        assert set(case["over_device"]) == {"no bank", "host", "disk"}
        assert case["batch"] == 32
        assert 0.0005 < case["gigabytes"] < 0.002
    module = runner.load("offload")
    fetched = offloaded.OffloadedTable.gather

    def other_rows(self, *arguments):
        return [(rows + 1, which) for rows, which in fetched(self, *arguments)]

    monkeypatch.setattr(offloaded.OffloadedTable, "gather", other_rows)
    with pytest.raises(SystemExit):
        module.run(tiny_setting("offload"))
    slow = {**prefill, "over_device": {"host": {"median": 0.96}}}
    assert [one["held"] for one in module.promises([slow])] == [False]
    assert module.promises([{**slow, "batch": 8}]) == []


def test_nothing_is_lost_or_left_over_on_a_tiny_model():
    stacks = quick_run("stacking")["stacks"]
    assert [stack["tables"] for stack in stacks] == [1, 2]
    assert all(stack["forced"] == stack["asked"] for stack in stacks)
    conflict = quick_run("conflict")
    assert conflict["updates"]["leftovers"] == 0
    assert conflict["updates"]["history_in_file"] == 2
    busy = conflict["interleaved"]
    assert busy["in_table"] == busy["expected_in_table"] > 0
    assert busy["erased_and_still_answered"] == 0
    assert busy["bit_identical_after_erasing_all"]


def test_a_model_without_a_chat_template_is_not_asked_in_chats():
    setting = tiny_setting("chat")
    setting.tokenizer.chat_template = None
    run = described(runner.load("chat").run(setting))
    assert run["groups"] == []
    assert "no chat template" in "\n".join(runner.load("chat").section([run]))
    setting.options = tiny_setting("exact_match").options
    sets = runner.load("exact_match").run(setting)["sets"]
    assert {one["form"] for one in sets} == {"text"}


def test_contradicting_pairs_are_counted_as_wrong():
    exact_match = runner.load("exact_match")
    pairs = [("KEY:A", "1"), ("KEY:B", "2"), ("KEY:A", "3"), ("KEY:B", "2")]
    found = exact_match.measure(
        tiny_setting("exact_match"), [exact_match.Pair(*pair, "keys") for pair in pairs], "text"
    )
    assert found["asked"] == 4
    assert found["forced"] == 3
    assert (found["distinct_pairs"], found["distinct_keys"]) == (3, 2)
    assert found["keys_with_several_values"] == 1


def test_the_fuzz_and_one_architecture_run():
    run = runner.load("fuzz").run(tiny_setting("fuzz"))
    assert run["reader"]["mismatches"] == 0
    setting = tiny_setting("architectures", "--class", "LlamaForCausalLM")
    found = described(runner.load("architectures").run(setting))
    assert found["classes"]["LlamaForCausalLM"]["status"] == "works"
    assert promises.broken(found) == []
    architectures = runner.load("architectures")
    assert architectures.other_pages([found]) == {}
    (page,) = architectures.other_pages([{**found, "all_classes": True}]).values()
    assert "| `LlamaForCausalLM` |" in page
    assert "| all | 1 |" in page


# The runner


@pytest.fixture
def tiny_instead(monkeypatch, tiny_llama, tiny_tokenizer):
    """Let the runner load a tiny model, whatever its name is."""
    from engram_transformers import pretrained

    def load(name, **_):
        return tiny_llama, tiny_tokenizer

    monkeypatch.setattr(pretrained, "load_pretrained", load)


@pytest.mark.usefixtures("tiny_instead")
def test_a_run_is_written_with_all_that_made_it(results_folder):
    runner.main("run density --quick --device cpu --data missing --counts 2 --seed 3".split())
    path = results_folder / "density-smollm2-135m-instruct-cpu-float32-quick.json"
    run = json.loads(path.read_text(encoding="utf-8"))
    assert run["benchmark"] == "density"
    assert run["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (run["seed"], run["quick"], run["dtype"]) == (3, True, "float32")
    assert {"torch", "transformers", "commit", "device", "threads"} <= set(run["environment"])
    assert pages.load_runs(results_folder) == {}  # quick runs show no figures


@pytest.mark.usefixtures("tiny_instead")
def test_a_promise_that_is_not_held_is_written_and_fails(results_folder, monkeypatch):
    broken = {"promises": [promises.promise("water runs uphill", False, "it does not")]}
    monkeypatch.setattr(runner.load("storage"), "run", lambda setting: broken)
    with pytest.raises(SystemExit, match="water runs uphill"):
        runner.main("run storage --device cpu".split())
    (path,) = results_folder.glob("*.json")
    run = json.loads(path.read_text(encoding="utf-8"))
    shown = "\n".join(promises.lines([run]))
    assert "**Not held**" in shown
    assert "water runs uphill: it does not" in shown


def test_promises_are_for_the_main_model_in_full():
    setting = tiny_setting("density")
    assert not promises.are_checked(setting)
    setting.label, setting.quick = "HuggingFaceTB/SmolLM2-135M-Instruct", False
    assert promises.are_checked(setting)
    setting.config_fields = {"row_dim": 16}
    assert not promises.are_checked(setting)
    assert promises.at_least("facts", 0.99, 99, 100)["held"]
    assert not promises.at_least("facts", 0.99, 989, 1000)["held"]
    assert not promises.at_least("facts", 0.99, 0, 0)["held"]


# Pages


def test_pages_are_in_step_with_the_results():
    assert pages.stale_pages() == []


@pytest.fixture
def made_up_pages(tmp_path, results_folder):
    """A root and a results folder with one run of a benchmark that draws a plot."""
    run = quick_run("storage")
    results_folder.mkdir()
    path = results_folder / "storage-tiny-cpu-float32.json"
    path.write_text(json.dumps(described(run, benchmark="storage")), encoding="utf-8")
    (tmp_path / "README.md").write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    pages.write_pages(tmp_path, results_folder)
    return tmp_path, path


def test_pages_are_stale_as_soon_as_results_change(made_up_pages):
    root, path = made_up_pages
    results = path.parent
    assert pages.stale_pages(root, results) == []
    run = json.loads(path.read_text(encoding="utf-8"))
    run["points"][0]["whole"] = 0
    path.write_text(json.dumps(run), encoding="utf-8")
    plot = str(Path("docs/images/benchmark-storage.svg"))
    assert set(pages.stale_pages(root, results)) == {str(Path("docs/benchmarks.md")), plot}
    pages.write_pages(root, results)
    assert pages.stale_pages(root, results) == []


def test_plots_are_compared_by_results_and_removed_with_them(made_up_pages):
    root, path = made_up_pages
    plot = root / "docs" / "images" / "benchmark-storage.svg"
    assert f"({plot.relative_to(root / 'docs')})" in (root / "docs" / "benchmarks.md").read_text()
    # Another release of matplotlib draws other bytes.
    plot.write_text(plot.read_text(encoding="utf-8").replace("<g ", "<g  "), encoding="utf-8")
    assert pages.stale_pages(root, path.parent) == []
    path.unlink()
    assert str(plot.relative_to(root)) in pages.stale_pages(root, path.parent)
    pages.write_pages(root, path.parent)
    assert not plot.exists()


def test_the_readme_keeps_everything_but_its_figures(made_up_pages):
    text = (made_up_pages[0] / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"before\n{pages.BEGIN}\n")
    assert text.endswith(f"{pages.END}\nafter\n")
    assert "old" not in text


def test_the_readme_shows_a_figure_of_every_benchmark_that_ran():
    names = ("contexts", "chat", "exact_match", "stacking", "conflict")
    runs = {name: [described(quick_run(name), model=summary.MODEL)] for name in names}
    fair = {"seconds": 60.4, "bytes": 1_363.0, "recall": 0.999}
    runs["compare"] = [described({"counts": [{"lora_over_ours": {"LoRA, fair": fair}}]})]
    runs["locality"] = [
        described(
            {
                "bits": {"bfloat16": {"sentences": {"equal": 9, "without_row": 10}}},
                "false_fires": {
                    "default": "min_order=3",
                    "ways": {"min_order=3": {"all": {"fires": 5, "tokens": 1_000_000}}},
                },
            }
        )
    ]
    runs["density"] = [
        described(
            {
                "sources": [
                    {
                        "name": "generated",
                        "points": [{"facts": 1_000, "asked": 1_000, "whole": 999}],
                    }
                ]
            }
        )
    ]
    for name in ("compare", "locality", "density"):
        runs[name][0]["model"] = summary.MODEL
    shown = "\n".join(summary.block(runs))
    assert "|  | a CPU, 1 thread |" in shown
    assert "| 1,000 made-up facts | 99.9% |" in shown
    assert "Made at commit c0ffee (chat, compare, conflict, " in shown
    assert "| times our bytes | 1,363 |" in shown
    assert "| 0.50 |" in shown
    assert "9 of 10 (bfloat16)" in shown
    assert "2 × 4 facts" in shown
    assert "10,000 made-up facts" not in shown  # nobody has measured it
    other = {name: [{**run, "model": "another"}] for name, (run,) in runs.items()}
    assert len(summary.block(other)) <= 6


def test_check_fails_and_changes_nothing(monkeypatch, made_up_pages):
    root, path = made_up_pages
    page = root / "docs" / "benchmarks.md"
    page.write_text("# Typed by hand\n", encoding="utf-8")
    monkeypatch.setattr(pages.stale_pages, "__defaults__", (root, path.parent))
    with pytest.raises(SystemExit, match=r"benchmarks\.md"):
        runner.main(["pages", "--check"])
    assert page.read_text(encoding="utf-8") == "# Typed by hand\n"


def test_a_model_can_be_trained_also_if_it_was_first_asked_for_in_inference_mode(tmp_path):
    tiny.tiny_model("llama").save_pretrained(tmp_path)
    tiny.tiny_tokenizer().save_pretrained(tmp_path)
    setting = dataclasses.replace(tiny_setting("chat"), model_name=str(tmp_path), _loaded=None)
    with torch.inference_mode():
        model = setting.model
    model(**setting.tokenizer("one", return_tensors="pt")).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
