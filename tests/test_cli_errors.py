"""Bad input to `fit`, `validate` and `test`: one line that says what and the remedy, the right exit code, no ruins."""

import json
import time

import pytest
import yaml

from emonet_lightning.cli import main

QUICK = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=1", "--trainer.logger=false",
         "--trainer.enable_progress_bar=false", "--figures=false", "--model.widths=[8]"]  # fmt: skip


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must fail; returns its one line, after looking for what it may have left behind."""

    def run(code, *words, out=None):
        out = tmp_path / "out" if out is None else out
        before = sorted(tmp_path.rglob("*"))
        assert main([*map(str, words), *([f"--out={out}"] if words and words[0] == "fit" else [])]) == code
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("error: ")
        assert not any("Traceback" in line or line.startswith("error:") for line in lines[:-1])
        assert sorted(tmp_path.rglob("*")) == before, "nothing half-written"
        return lines[-1]

    return run


@pytest.fixture
def big(small_sets, encoder_options):
    return ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", *QUICK, *encoder_options]


@pytest.fixture
def config(tmp_path, small_sets, small_encoder):
    """Writes a configuration of one quick run, changed by `change`."""

    def write(change=lambda content: None):
        content = {
            "model": {
                "widths": [8],
                "encoder": {"name": "timm/test_efficientnet", "weights": str(small_encoder), "size": 64},
            },
            "trainer": {"max_epochs": 1, "accelerator": "cpu", "devices": 1, "enable_progress_bar": False},
            "data": {"class_path": "SyntheticFaces", "init_args": {"path": str(small_sets["big"]), "batch_size": 60}},
        }
        change(content)
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return f"--config={path}"

    return write


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "offer"),
    [
        ("--model.lrr=1", "unknown option 'model.lrr'; did you mean 'model.lr'"),
        ("--data.batchsize=4", "unknown option 'batchsize' of SyntheticFaces; did you mean 'batch_size'?"),
        ("--data.mising=mask", "unknown option 'mising' of SyntheticFaces; did you mean 'missing'"),
        ("--trainer.max_epoch=3", "unknown option 'trainer.max_epoch'; did you mean 'trainer.max_epochs'"),
        ("--model.encoder.sise=3", "did you mean 'model.encoder.size'"),
        ("--oot=x", "unknown option 'oot'; did you mean 'out'"),
    ],
)
def test_an_unknown_option_gets_the_nearest(refused, big, option, offer):
    assert offer in refused(2, "fit", *big, option)


@pytest.mark.parametrize(
    ("change", "offer"),
    [
        (lambda c: c.update(modle={"lr": 1}), "did you mean 'model.lr'"),
        (lambda c: c["model"].update(width=3), "unknown option 'model.width'; did you mean 'model.widths'"),
        (lambda c: c["model"]["encoder"].update(sise=3), "did you mean 'model.encoder.size'"),
        (lambda c: c["trainer"].update(max_epoch=3), "did you mean 'trainer.max_epochs'"),
        (lambda c: c["data"]["init_args"].update(batchsize=3), "of SyntheticFaces; did you mean 'batch_size'?"),
        (lambda c: c["data"].update(class_path="SyntheticFace"), "no data module is called 'SyntheticFace'; did you"),
        (lambda c: c["data"].update(init_args={}), "SyntheticFaces needs the option 'path'"),
        (
            lambda c: c.update(test_data={"class_path": "ExpertRatings", "init_args": {"pth": "x"}}),
            "unknown option 'pth' of ExpertRatings; did you mean 'path'?",
        ),
    ],
)
def test_an_unknown_key_of_a_file_gets_the_nearest(refused, config, change, offer):
    assert offer in refused(2, "fit", config(change))


@pytest.mark.parametrize(
    ("overrides", "code", "offer"),
    [
        ({"model.lrr": 1}, 2, "unknown option 'model.lrr'; did you mean 'model.lr'"),
        ({"data": {"init_args": {"batch_sise": 3}}}, 2, "did you mean 'batch_size'?"),
        ({"data.init_args.path": "/no/such/set"}, 66, "/no/such/set: no such folder"),
        ({"model.encoder.name": "timm/mobilnetv2_100"}, 2, "did you mean"),
        ({"model.loss": "bce"}, 2, "set model.reinit_last_layer: true in the later stage"),
        ({"model.widths": [9]}, 2, "model.widths must be the same in all stages"),
        ({"model.l2_normalise": False}, 2, "model.l2_normalise must be the same in all stages"),
    ],
)
def test_a_mistake_in_the_last_stage_is_found_before_the_first_one_trains(refused, config, overrides, code, offer):
    stages = [{"name": "one"}, {"name": "two", "overrides": overrides}]
    assert offer in refused(code, "fit", config(lambda c: c.update(stages=stages)))


@pytest.mark.parametrize(
    ("stages", "code", "message"),
    [
        ([{"name": "a", "override": {}}], 2, "unknown key 'override' in a stage; did you mean 'overrides'?"),
        ([{"overrides": {}}], 65, "each stage needs its own 'name'"),
        ([{"name": "a"}, {"name": "a"}], 65, "each stage needs its own 'name'"),
        ([{"name": "../a"}], 65, "usable as a folder"),
        ({"name": "a"}, 65, "'stages' must be a list"),
        (["a"], 65, "'stages' must be a list"),
    ],
)
def test_stages_that_are_none_are_refused(refused, config, stages, code, message):
    assert message in refused(code, "fit", config(lambda c: c.update(stages=stages)))


@pytest.mark.parametrize(
    ("stages", "option", "message"),
    [
        ([{"name": "a"}, {"name": "b.c"}], "--stages.d.model.lr=1", "no stage 'd'; choose from 'a', 'b.c'"),
        ([{"name": "big"}], "--stages.bigg.model.lr=1", "no stage 'bigg'; did you mean 'big'?"),
        ([{"name": "a"}, {"name": "b.c"}], "--stages.b.c.model.lrr=1", "unknown option 'model.lrr'; did you mean"),
        ([{"name": "a"}], "--stages.a.model.lr", "write its value behind it"),
        (None, "--stages.a.model.lr=1", "no stage 'a'; the run has no stages"),
    ],
)
def test_an_option_of_a_stage_that_is_none_is_refused(refused, config, stages, option, message):
    change = (lambda c: c.update(stages=stages)) if stages else (lambda c: None)
    assert message in refused(2, "fit", config(change), option)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["fti"], 2, "unknown command 'fti'; did you mean 'fit'"),
        (["fit", "--config=/no/such.yaml"], 66, "/no/such.yaml: no such configuration file"),
        (["fit", "--config"], 2, "--config: a path is missing after it"),
        (["fit", "--config", "--data=SyntheticFaces"], 2, "--config: a path is missing after it"),
        (["fit", "--run=runs/x"], 2, "--run runs/x is for test and validate"),
        (["test"], 2, "test: name a finished run with --run DIR"),
        (["validate"], 2, "validate: name a finished run with --run DIR"),
        (["test", "--run=/no/such/run"], 66, "/no/such/run: no manifest.json: not a folder of exported heads"),
    ],
)
def test_commands_without_what_they_need(refused, words, code, message):
    assert message in refused(code, *words)


def test_test_and_validate_refuse_folders_that_hold_no_run(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ("test", "validate"):
        assert "not a folder of exported heads or a finished run" in refused(66, command, "--run", tmp_path / "empty")


@pytest.mark.parametrize(("text", "message"), [("model: [\n", "not YAML"), ("- a\n", "a mapping, this is list")])
def test_a_file_that_is_no_configuration(refused, tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert message in refused(65, "fit", "--config", path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model.loss=mes", "'mse'"),
        ("--trainer.max_epochs=many", "many"),
        ("--model.widths=huge", "neither 'small', 'large' nor a list"),
        ("--data.batch_size=0", "data.batch_size: 0 must be at least 1"),
        ("--data.views=3", "data.views: 3 views need data.augmentation"),
        ("--data.fold=9", None),
        ("--model.lr=null", "model.lr: expected float, got None"),
        ("--model.dropout=1.0", "model.dropout: 1.0 must be below 1"),
        ("--trainer.accelerator=gpuu", "invalid accelerator name"),
        ("--data.path=http://127.0.0.1/x", "data.path: 'http://127.0.0.1/x' is an address"),
        ("--model.lr=-1", "model.lr: -1.0 must be above 0"),
        ("--model.weight_decay=.inf", "model.weight_decay: inf must be a finite number"),
        ("--trainer.gradient_clip_val=1", "use model.clip_norm"),
        ("--trainer.accumulate_grad_batches=2", "raise data.batch_size"),
        ("--trainer.overfit_batches=2", "use data.train_share"),
        ("--trainer.precision=16-mixed", "model.heads_dtype: bfloat16 for the heads' products"),
        ("--trainer.strategy=ddp_spawn", "trainer.strategy: ddp_spawn: only auto and ddp"),
        ("--trainer.strategy=ddp_find_unused_parameters_true", "only auto and ddp"),
        ("--trainer.strategy=fsdp", "only auto and ddp"),
        ("--trainer.strategy=DDPStrategy", "only auto and ddp"),
        ("--model.steps_per_call=0", "model.steps_per_call: 0 must be at least 1"),
        ("--best_heads.patience=-1", "best_heads.patience: -1 must be at least 0"),
        ('--model.per_emotion={"Joyy": {"lr": 0.1}}', "model.per_emotion: unknown emotion 'Joyy'"),
        ('--model.per_emotion={"Joy": {"frozn": true}}', "each with lr, weight_decay or frozen"),
        ("--model.per_emotion.Joy.frozen=true", "each with lr, weight_decay or frozen"),
        ("--data.features_on=gpu", "option 'features_on' of SyntheticFaces: Expected a typing.Literal['auto',"),
        ("--trainer.max_epochs=-1", "-1 has no end"),
        ("--data.mode=images", "set model.standardise: false"),
        ("--data.train_share=0", "data.train_share: 0.0 must be above 0"),
    ],
)
def test_a_value_that_cannot_be_is_named(refused, big, option, message):
    words = [*big, option] if message else [*big, option, "--data.num_folds=5"]
    assert (message or "data.fold: 9 must be 0 .. 4") in refused(2, "fit", *words)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("trainer.callbacks", ["EarlyStopping", {"monitor": "val/score"}, {"a": 1}], "unexpected keyword argument 'a'"),
        ("trainer.callbacks", ["EarlyStopping", {"monitor": "val/score", "mode": "up"}, {}], "can be min, max, got up"),
        ("trainer.plugins", ["lightning.pytorch.plugins.precision.Precision", {}, {"a": 1}], "takes no arguments"),
        ("data", ["SyntheticFaces", {"path": "x"}, {"a": 1}], "unexpected keyword argument 'a'"),
        ("test_data", ["ExpertRatings", {"path": "x"}, {"a": 1}], "unexpected keyword argument 'a'"),
    ],
)
def test_a_class_that_does_not_take_its_options_is_named_with_its_option(refused, big, option, value, message):
    value = dict(zip(("class_path", "init_args", "dict_kwargs"), value, strict=True))
    words = [*big[2:], f"--{option}={json.dumps(value)}", *(big[:2] if option != "data" else [])]
    line = refused(2, "fit", *words)
    name = value["class_path"].rpartition(".")[2]
    assert line.startswith(f"error: {option}: {name} cannot be built (")
    assert f"{message}); mend its init_args or dict_kwargs" in line


@pytest.mark.parametrize("command", ["test", "validate"])
def test_strategies_that_fit_refuses_are_refused_to_judge_with(refused, big, command):
    words = [*big, "--model.init_heads_from=x", "--trainer.strategy=fsdp"]
    assert "trainer.strategy: fsdp: only auto and ddp make sure" in refused(2, command, *words)


def test_images_in_every_step_are_resized_where_they_are_decoded(refused, big):
    words = ["--data.mode=images", "--model.standardise=false", "--model.encoder.resize_on=device"]
    assert "use host with images" in refused(2, "fit", *big, *words)


def test_a_configuration_cannot_call_functions_of_other_packages(refused, config, tmp_path):
    def attack(content):
        content["data"] = {"class_path": "os.system", "init_args": {"command": f"touch {tmp_path}/pwned"}}

    refused(2, "fit", config(attack))
    assert not (tmp_path / "pwned").exists()


# -- data, encoder, taxonomy ----------------------------------------------------------------------------------------


def test_missing_empty_and_foreign_folders_are_told_apart(refused, encoder_options, tmp_path):
    def line(path, code):
        return refused(code, "fit", "--data=SyntheticFaces", f"--data.path={path}", *QUICK, *encoder_options)

    assert f"{tmp_path}/none: no such folder; name one that `pack` made" in line(tmp_path / "none", 66)
    (tmp_path / "empty").mkdir()
    assert "holds no manifest.json; it is not a packed set" in line(tmp_path / "empty", 66)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text("{}")
    assert "manifest.json: content changed since it was written" in line(tmp_path / "foreign", 65)


def test_sets_for_something_else_are_refused(refused, small_sets, encoder_options, big):
    def line(module, name, *words):
        path = f"--data.path={small_sets[name]}"
        return refused(65, "fit", f"--data={module}", path, *QUICK, *encoder_options, *words)

    assert "this set is sealed, for testing only" in line("ExpertRatings", "hq")
    assert "kind 'dense', ExpertBinary reads 'binary'; use data.class_path: SyntheticFaces" in line(
        "ExpertBinary", "big"
    )
    message = "no rows in split 'trian'; the set has {'train': 120, 'val': 40}"
    assert message in line("SyntheticFaces", "big", "--data.train_split=trian")


def test_a_missing_test_set_and_impossible_exports_are_found_before_training(refused, big):
    test = ["--test_data=ExpertRatings", "--test_data.path=/no/such/set"]
    assert "/no/such/set: no such folder" in refused(66, "fit", *big, *test)
    assert "released .pth files hold plain outputs" in refused(
        65, "fit", *big, "--model.loss=bce", "--export=[released]"
    )
    assert "/no/such/neutral" in refused(66, "fit", *big, "--neutral=/no/such/neutral")
    assert "/no/such.ckpt: no such checkpoint" in refused(66, "fit", *big, "--ckpt_path=/no/such.ckpt")
    assert "/no/such/run: no manifest.json" in refused(66, "fit", *big, "--model.init_heads_from=/no/such/run")


def test_an_unknown_encoder_offers_the_nearest_names(refused, small_sets):
    words = ["fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", *QUICK]
    line = refused(2, *words, "--model.encoder.name=timm/mobilnetv2_100")
    assert "encoder 'timm/mobilnetv2_100' is unknown; did you mean 'mobilenetv2_100'" in line
    assert "write embedded, timm/NAME" in refused(2, *words, "--model.encoder.name=siglip")
    missing = ["--model.encoder.name=timm/test_efficientnet", "--model.encoder.weights=/no/such.safetensors"]
    assert "/no/such.safetensors: no such weight file" in refused(66, *words, *missing)


def test_without_network_the_command_to_run_elsewhere_is_printed_at_once(refused, small_sets):
    words = ["fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", *QUICK]
    started = time.monotonic()
    line = refused(78, *words, "--model.encoder.name=timm/vit_so400m_patch16_siglip_384.v2_webli")
    assert time.monotonic() - started < 6
    assert "python -m emonet_lightning fetch encoder timm/vit_so400m_patch16_siglip_384.v2_webli --dir DIR" in line
    assert "--model.encoder.weights DIR/model.safetensors" in line


def test_an_unknown_taxonomy_and_another_order_are_refused(refused, big, tmp_path):
    line = refused(66, "fit", *big, "--model.taxonomy=emonet4")
    assert "taxonomy 'emonet4': no such file and no built-in of that name; did you mean 'emonet40'?" in line
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nemotions: [Awe, Anger]\n")
    line = refused(65, "fit", *big, f"--model.taxonomy={path}")
    assert "columns are those of another taxonomy or order" in line


# -- output ----------------------------------------------------------------------------------------------------------


def test_an_output_path_that_cannot_be_written_is_named(refused, big, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused(74, "fit", *big, out=tmp_path / "file" / "run")
    assert f"{tmp_path}/file/run: cannot be written" in line


def test_a_cache_folder_that_cannot_be_written_is_named(capsys, big, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["fit", *big, f"--data.cache_dir={tmp_path}/file/cache", f"--out={tmp_path}/run"]) == 74
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: {tmp_path}/file/cache")
