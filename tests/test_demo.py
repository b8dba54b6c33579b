import dataclasses
import json

import pytest
import torch
from test_cli import model_folder  # noqa: F401

from engram_transformers import UserTable, add_engram, cli, demo_command, extras
from engram_transformers.demo_checks import logit_digests, measure_locality, measure_recall
from engram_transformers.demo_facts import USERS
from engram_transformers.demo_promises import demo_promises
from engram_transformers.demo_report import (
    BatchFigures,
    Erasure,
    Locality,
    Recall,
    UserFigures,
    shown_name,
)

TEXTS = ["The harbour opens at seven.", "My locker code is not for you.", "A", "One. Two. Three."]
FACT = ("My locker code is", "4471")


def run(arguments, capsys):
    code = cli.main(["demo", *arguments])
    return code, capsys.readouterr()


@pytest.fixture
def small(monkeypatch):
    """Compare 20 sentences instead of 200."""
    monkeypatch.setattr("engram_transformers.demo_steps.SENTENCES", 20)


# On a tiny model: all steps, files and exit codes


@pytest.mark.usefixtures("small")
def test_the_demo_writes_all_figures_and_a_picture(model_folder, tmp_path, capsys):  # noqa: F811
    figures, picture = tmp_path / "figures.json", tmp_path / "rows.png"
    code, captured = run(
        ["--model", model_folder, "--facts", "3", "--json", str(figures), "--plot", str(picture)],
        capsys,
    )
    report = json.loads(figures.read_text(encoding="utf-8"))
    assert code == (0 if all(promise["held"] for promise in report["promises"]) else 1)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert set(report["versions"]) == {"engram-transformers", "python", "torch", "transformers"}
    assert [user["owner"] for user in report["users"]] == list(USERS)
    assert all(user["facts"] == 3 for user in report["users"])
    unrelated = report["unrelated"]
    assert unrelated["texts"] == 20
    # Tokens of the tiny tokenizer are bytes: an address of three may well be in a foreign text.
    assert unrelated["identical"] >= 20 - unrelated["fired"]
    assert unrelated["unexplained"] == []
    assert report["erasure"]["identical"] == report["erasure"]["texts"] > 20
    assert report["model"] == "tiny-llama"
    for where in ("Writing", "Whole answers", "bit-identical to the base again: yes"):
        assert where in captured.out


@pytest.mark.usefixtures("small")
def test_the_figures_name_no_folders(model_folder, tmp_path, capsys):  # noqa: F811
    figures = tmp_path / "figures.json"
    run(["--model", model_folder, "--facts", "1", "--json", str(figures)], capsys)
    assert str(tmp_path.parent) not in figures.read_text(encoding="utf-8")
    assert '"/' not in figures.read_text(encoding="utf-8")


@pytest.mark.usefixtures("small")
def test_a_broken_promise_is_named_and_makes_the_exit_code_1(
    model_folder,  # noqa: F811
    capsys,
    monkeypatch,
):
    # A table whose rows come back after erasing.
    erase = UserTable.erase

    def pretend(self, *args, **kwargs):
        rows = self.rows
        receipt = erase(self, *args, **kwargs)
        self._replace(rows, self.entries)
        return receipt

    monkeypatch.setattr(UserTable, "erase", pretend)
    code, captured = run(["--model", model_folder, "--facts", "2"], capsys)
    assert code == 1
    assert "✗ with everything erased, the model is bit-identical to the base" in captured.out
    assert "✗ an erased fact is gone" in captured.out


def test_ctrl_c_leaves_no_file(model_folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("engram_transformers.demo_steps.measure_recall", interrupt)
    monkeypatch.setattr("engram_transformers.demo_steps.SENTENCES", 2)
    figures = tmp_path / "figures.json"
    code, captured = run(["--model", model_folder, "--facts", "1", "--json", str(figures)], capsys)
    assert code == 130
    assert "Interrupted" in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--facts", "0"], "0 is not in 1 to 34"),
        (["--facts", "35"], "35 is not in 1 to 34"),
        (["--json", "no/such/folder/f.json"], "there is no folder no/such/folder"),
        (["--json", "."], "--json: . is a folder"),
        (["--plot", "no/such/folder/f.png"], "there is no folder"),
        (["--plot", "rows.doc"], "must end in one of .pdf, .png, .svg"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_loaded(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(demo_command, "run_demo", None)
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("package", ["rich", "matplotlib", "peft"])
def test_a_missing_package_says_what_to_install(package, capsys, monkeypatch, tmp_path):
    find = extras.importlib.util.find_spec
    monkeypatch.setattr(
        extras.importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    monkeypatch.setattr(demo_command, "run_demo", None)
    code, captured = run(["--plot", str(tmp_path / "rows.png")], capsys)
    assert code == 1
    assert f"needs {package}" in captured.err
    assert 'pip install "engram-transformers[demo]"' in captured.err


def test_a_layer_that_does_not_exist_is_one_clear_message(model_folder, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr("engram_transformers.demo_steps.SENTENCES", 2)
    code, captured = run(["--model", model_folder, "--layers", "99"], capsys)
    assert code == 1
    assert "Layer 99 does not exist" in captured.err


# The measurements


@pytest.fixture
def written(tiny_llama, tiny_tokenizer):
    base = logit_digests(tiny_llama, tiny_tokenizer, TEXTS)
    add_engram(tiny_llama, tiny_tokenizer)
    table = UserTable(tiny_llama, "ilse")
    assert table.write(FACT).recalled == 1
    return tiny_llama, tiny_tokenizer, table, base


def test_locality_tells_texts_with_a_trigger_from_those_without(written):
    model, tokenizer, table, base = written
    figures = measure_locality(model, tokenizer, TEXTS, base, [table])
    assert (figures.texts, figures.identical, figures.fired) == (4, 3, 1)
    assert figures.fired_texts == (TEXTS[1],)
    assert figures.unexplained == ()
    assert figures.tokens == sum(len(tokenizer(text).input_ids) for text in TEXTS)
    assert figures.tokens_fired >= 1


def test_a_text_that_changes_though_no_row_fires_is_named(written):
    model, tokenizer, table, base = written
    with torch.no_grad():
        model.get_output_embeddings().weight[5, 0] += 1e-3
    figures = measure_locality(model, tokenizer, TEXTS, base, [table])
    assert figures.identical == 0
    assert figures.unexplained == (TEXTS[0], TEXTS[2], TEXTS[3])


def test_digests_tell_single_bits_apart(tiny_llama, tiny_tokenizer):
    before = logit_digests(tiny_llama, tiny_tokenizer, TEXTS)
    assert before == logit_digests(tiny_llama, tiny_tokenizer, TEXTS)
    assert len(set(before)) == len(TEXTS)
    weight = tiny_llama.get_output_embeddings().weight
    with torch.no_grad():
        weight[7] *= 1 + 2**-22  # a last bit or two of one token's logits
    after = logit_digests(tiny_llama, tiny_tokenizer, TEXTS)
    assert all(b != a for b, a in zip(before, after, strict=True))


def test_recall_names_what_was_said_instead(written):
    model, tokenizer, table, _ = written
    facts = table.facts
    assert measure_recall(model, tokenizer, table, facts, "on its own").right == 1
    table.erase(all=True)
    recall = measure_recall(model, tokenizer, table, facts, "on its own")
    assert (recall.asked, recall.right) == (1, 0)
    prompt, answer, said = recall.wrong[0]
    assert (prompt, answer) == FACT
    assert said
    assert not said.startswith(" 4471")


def test_surroundings_hold_the_prompt_at_their_end(written):
    from engram_transformers.demo_checks import SURROUNDINGS
    from engram_transformers.sequences import prompt_text

    _, tokenizer, _, _ = written
    chat = (("user", "Where do I live?"),)
    texts = {where: place(tokenizer, FACT[0]) for where, place in SURROUNDINGS.items()}
    assert all(text.endswith(FACT[0]) for text in texts.values())
    assert len({len(text) for text in texts.values()}) == 3
    assert "<|im_start|>assistant\n" + FACT[0] in texts["in a chat"]
    assert SURROUNDINGS["in a long text"](tokenizer, chat) is None
    longer = prompt_text(tokenizer, SURROUNDINGS["in a chat"](tokenizer, chat))
    assert longer.endswith(prompt_text(tokenizer, chat))
    tokenizer.chat_template = None
    assert SURROUNDINGS["in a chat"](tokenizer, FACT[0]) is None


# What counts as held

RIGHT = Recall("on its own", 2, 2, ())
USER = UserFigures("ilse", 2, 2, (), 1.0, 1.0, 9, 8, 700, 900, 800, (RIGHT,))
BATCH = BatchFigures(6, 4, 4, 2, 2, ())
SAME = Locality(20, 99, 20, 0, 0, (), ())
ERASED = Erasure("p", "a", "x", True, 3, 3, 9, 9)


def broken(**changes):
    figures = {"users": [USER], "batch": BATCH, "unrelated": SAME, "near": SAME, "erasure": ERASED}
    promises = demo_promises(**{**figures, **changes})
    return [promise.name for promise in promises if not promise.held]


def test_nothing_is_broken_where_everything_held():
    assert broken() == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"users": [dataclasses.replace(USER, written=1)]}, "every fact is written"),
        (
            {"users": [dataclasses.replace(USER, recall=(dataclasses.replace(RIGHT, right=1),))]},
            "each written fact is answered whole on its own",
        ),
        ({"batch": dataclasses.replace(BATCH, right=3)}, "in one batch"),
        ({"batch": dataclasses.replace(BATCH, unchanged=1)}, "in one batch"),
        ({"unrelated": dataclasses.replace(SAME, unexplained=("x",))}, "text in which no row"),
        ({"near": dataclasses.replace(SAME, unexplained=("x",))}, "text in which no row"),
        ({"erasure": dataclasses.replace(ERASED, forgotten=False)}, "an erased fact is gone"),
        ({"erasure": dataclasses.replace(ERASED, others_right=2)}, "an erased fact is gone"),
        ({"erasure": dataclasses.replace(ERASED, identical=8)}, "with everything erased"),
    ],
)
def test_each_broken_promise_is_named(changes, name):
    (found,) = broken(**changes)
    assert found.startswith(name)


def test_a_folder_is_named_without_its_parents(tmp_path):
    (tmp_path / "my-model").mkdir()
    assert shown_name(str(tmp_path / "my-model")) == "my-model"
    assert shown_name("someone/some-model") == "someone/some-model"


@pytest.mark.real_model
@pytest.mark.slow
def test_everything_holds_on_a_real_model(tmp_path, capsys):
    figures = tmp_path / "figures.json"
    code, captured = run(["--facts", "4", "--json", str(figures)], capsys)
    report = json.loads(figures.read_text(encoding="utf-8"))
    assert [p["name"] for p in report["promises"] if not p["held"]] == []
    assert code == 0
    assert report["unrelated"]["texts"] == report["unrelated"]["identical"] == 200
    assert report["unrelated"]["tokens_fired"] == 0
    assert "HuggingFaceTB/SmolLM2-135M-Instruct: 30 blocks" in captured.out
