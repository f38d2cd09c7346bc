"""Config: what params.yaml may say, and what a person is told when it says something else."""

import json
import re

import pytest
from projects import PARAMS, ROOT

from longshort import config, editing
from longshort.errors import ConfigError, UnknownVariant

TEXT = PARAMS.read_text()
BLSTM = "training.items.topics-bilstm={dataset: topics, task: language-model, variant: bilstm}"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path / "params.yaml"


def test_the_file_of_this_project_is_read():
    assert config.read(ROOT / "params.yaml").training.items


def test_a_section_gives_each_task_its_own():
    params = config.read(PARAMS)
    assert params.windows.forecast.span == params.windows.forecast.lookback + params.windows.forecast.horizon
    assert params.of_task(params.training, "language-model") is params.training.language_model


def test_the_target_is_the_first_column():
    spec = config.read(PARAMS).windows.forecast.model_copy(update={"target": "close", "features": ["volume", "close"]})
    assert spec.columns == ["close", "volume"]


def test_sections_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        config.read(PARAMS).training.seeds = [5]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "    lookback: 60            # s",
            "    lokback: 60             # s",
            ": windows.forecast.lokback: unknown key. Did you mean 'lookback'?",
        ),
        (
            "min_gain: 0.0 ",
            "min_gian: 0.0 ",
            ": registry.min_gian: unknown key. Did you mean 'min_gain'? Known: min_gain, min_windows, significance.",
        ),
        ("lstm: {cell: lstm,", "lstm: {cel: lstm,", ": models.variants.lstm.cel: unknown key. Did you mean 'cell'?"),
        ("goog-rnn: {dataset: goog,", "goog-rnn: {datset: goog,", ": training.items.goog-rnn.datset: unknown key. Did you mean 'dataset'?"),
        ("    horizon: 1 ", "    horizon: one ", ": windows.forecast.horizon: input should be a valid integer (found 'one')"),
        ("    horizon: 1 ", "    horizon: '1' ", ": windows.forecast.horizon: input should be a valid integer (found '1')"),
        ("    horizon: 1 ", "    horizon: 0 ", ": windows.forecast.horizon: input should be greater than 0 (found 0)"),
        ("    target: log_return ", "    target: clse ", ": windows.forecast.target: input should be 'log_return', 'open'"),
        (
            "    target: log_return ",
            "    target: clse ",
            "(found 'clse'). Did you mean 'close'? Known: close, high, log_return, low, open.",
        ),
        ("features: [log_return, log_range]", "features: [log_retrn]", ": windows.forecast.features.0: "),
        ("scaler: standard ", "scaler: standart ", "Did you mean 'standard'? Known: minmax, standard."),
        ("workers: auto ", "workers: atuo ", ": resources.workers: input should be 'auto' (found 'atuo'). Did you mean 'auto'?"),
        ("uri: local ", "uri: 5 ", ": tracking.uri: input should be a valid string (found 5)"),
        ("seeds: [0, 1, 2]", "seeds: [true]", ": training.seeds.0: input should be a valid integer (found True)"),
        ("seeds: [0, 1, 2]", "seeds: [3, 3]", ": training.seeds: a seed that comes twice"),
        ("seeds: [0, 1, 2]", "seeds: [99999999999999999999]", ": training.seeds.0: input should be less than"),
        ("seeds: [0, 1, 2]", "seeds: []", ": training.seeds: list should have at least 1 item"),
        (
            "  forecast: {optimizer: adam, learning_rate: 0.001",
            "  forecast: {optimizer: adam, learning_rate: .inf",
            "a finite number (found inf)",
        ),
        (
            "rnn: {cell: rnn, hidden_size: 50, num_layers: 1,",
            "rnn: {cell: rnn, hidden_size: 50,",
            ": models.variants.rnn.num_layers: missing. Write it under",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_its_key_and_the_nearest_name(path, old, new, said):
    assert TEXT.count(old) >= 1
    path.write_text(TEXT.replace(old, new, 1))
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if new.rstrip() in line)
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    assert re.search(rf"params\.yaml:{number}: ", str(caught.value))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "line", "said"),
    [
        ("windows.forecast.gap=0", "forecast:", "windows.forecast: gap is 0 but horizon is 1: .* Set gap to 1 or more."),
        ("windows.forecast.horizon=5", "forecast:", "windows.forecast: gap is 1 but horizon is 5: .* Set gap to 5 or more."),
        ("windows.forecast.test=0.9", "forecast:", r"windows.forecast: validation 0.15 \+ test 0.9 leave nothing to train on"),
        (
            "tasks.forecast.quantiles=[0.05, 0.05]",
            "quantiles:",
            r"tasks.forecast.quantiles: each quantile shall be higher than the one before it. Write them from the lowest to the highest",
        ),
        ("tasks.forecast.quantiles=[0.95, 0.05]", "quantiles:", "tasks.forecast.quantiles: each quantile shall be higher than"),
        ("tasks.forecast.quantiles=[0.5, 1.0]", "quantiles:", r"tasks.forecast.quantiles.1: input should be less than 1 \(found 1.0\)"),
        ("tasks.forecast.quantiles=[0.0, 0.5]", "quantiles:", r"tasks.forecast.quantiles.0: input should be greater than 0 \(found 0.0\)"),
        ("tasks.forecast.quantiles=0.5", "quantiles:", r"tasks.forecast.quantiles: input should be a valid list \(found 0.5\)"),
        ("windows.language-model.test=0.9", "language-model:", r"windows.language-model: validation 0.1 \+ test 0.9 leave nothing"),
        ("training.items.goog-lstm.variant=lstn", "goog-lstm:", "goog-lstm: variant 'lstn' is not in .* Did you mean 'lstm'"),
        ("training.items.goog-lstm.dataset=gogo", "goog-lstm:", "goog-lstm: data set 'gogo' is not in .* Did you mean 'goog'"),
        ("training.items.goog-lstm.task=language-model", "goog-lstm:", "'goog' is for 'forecast'. Write `task: forecast`"),
        ("training.items.goog-lstm.variant=gru", "goog-lstm:", "Write `goog-gru:`"),
        (
            BLSTM,
            "items:",
            "topics-bilstm: 'bilstm' is bidirectional, so at each step it has already read the next word, which is the answer",
        ),
        (
            "tasks.language-model.tied=true",
            "topics-rnn:",
            "'rnn' gives states of 50, and with `tasks.language-model.tied` its head is the embeddings, which are 64 wide. Take one size",
        ),
        ("models.variants.lstm.cell=lstn", "lstm:", r"models.variants.lstm.cell: input should be .* \(found 'lstn'\). Did you mean 'lstm'"),
        (
            "models.variants.lstm.cell=alstm",
            "topics-lstm:",
            "'lstm' has cell 'alstm', which attends to all states for one answer at the end",
        ),
        (
            "models.variants.lstm.projection_size=50",
            "lstm:",
            "projection_size is 50 but hidden_size is 50: .* Set projection_size to 49 or less",
        ),
        ("tuning.space.hiden_size=[1, 2]", "space:", "tuning.space.hiden_size: unknown key. Did you mean 'hidden_size'"),
        ("tuning.space.patience=[1, 9]", "space:", "tuning.space.patience: unknown key. "),
        ("tuning.space.hidden_size=[0, 9]", "hidden_size: [", r"hidden_size.0: input should be greater than 0 \(found 0\)"),
        ("tuning.space.dropout=[0.5, 0.1]", "dropout: [", "tuning.space.dropout: .* Put the lower one first"),
        ("tuning.space.cell=[lstm, lstn]", "space:", r"cell.1: input should be .* \(found 'lstn'\). Did you mean 'lstm'"),
        ("tuning.space.cell=[lstm, gru, lstm]", "space:", "tuning.space.cell: a value that comes twice .* Write each once"),
        ("tuning.space={}", "space:", "tuning.space: it names no setting, so there is nothing to search"),
        ("models.variants.lstm={cell: lstm, hidden_siz: 1}", "lstm:", "lstm.hidden_siz: unknown key. Did you mean 'hidden_size'"),
        ("models.variants.cell={cell: lstm, hidden_siz: 1}", "variants:", "cell.hidden_siz: unknown key. Did you mean 'hidden_size'"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_remedy(path, setting, line, said):
    with pytest.raises(ConfigError, match=said) as caught:
        editing.assign(path, [setting])
    number = int(re.search(rf"params\.yaml:(\d+): .*{said}", str(caught.value))[1])
    assert TEXT.splitlines()[number - 1].strip().startswith(line)


def test_no_quantiles_are_the_default_and_leave_what_is_written_of_the_task_as_it_was(path):
    named = config.read(path).tasks.forecast
    assert (named.quantiles, named.model_dump()) == ([], {})
    editing.assign(path, ["tasks.forecast.quantiles=[0.05, 0.95]"])
    assert config.read(path).tasks.forecast.model_dump() == {"quantiles": [0.05, 0.95]}
    path.write_text(re.sub(r"forecast:\n    quantiles: .*", "forecast: {}", path.read_text()))
    assert config.read(path).tasks.forecast.quantiles == []


def test_an_unknown_variant_has_its_own_error(path):
    with pytest.raises(UnknownVariant):
        editing.assign(path, ["training.items.goog-lstm.variant=lstn"])


def test_every_mistake_is_told_at_once(path):
    path.write_text(TEXT.replace("min_gain", "gain").replace("confidence", "trust"))
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    assert len(str(caught.value).splitlines()) == 4  # two unknown keys, two missing ones


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", r"params.yaml:\d+:\d+: not valid YAML"),
        ("a: 1\na: 2", r"params.yaml:2:1: not valid YAML: found duplicate key"),
        ("- 1", "params.yaml: holds CommentedSeq, expected sections"),
        ("", "params.yaml: holds NoneType, expected sections"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_place(path, text, said):
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        config.read(path)


def test_a_file_of_other_bytes_or_none_is_refused(path):
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.read(path)
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        config.read(path)


# --- assigning --------------------------------------------------------------------------------


def test_a_setting_changes_its_own_line_and_keeps_every_comment(path):
    difference = editing.assign(path, ["windows.forecast.lookback=40"])
    assert [line for line in difference.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "-    lookback: 60            # sessions that the model sees",
        "+    lookback: 40            # sessions that the model sees",
    ]
    assert path.read_text() == TEXT.replace("    lookback: 60            # sess", "    lookback: 40            # sess")


def test_settings_are_written_together_or_not_at_all(path):
    with pytest.raises(ConfigError):
        editing.assign(path, ["windows.forecast.lookback=40", "windows.forecast.horizon=9"])
    assert path.read_text() == TEXT
    editing.assign(path, ["windows.forecast.gap=9", "windows.forecast.horizon=9"])
    assert config.read(path).windows.forecast.horizon == 9


def test_a_setting_that_changes_nothing_shows_no_difference(path):
    assert editing.assign(path, ["windows.forecast.lookback=60"]) == ""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seeds", "expected section.key=value"),
        ("training.seeds=[", "is not a YAML value"),
        ("trainin.seeds=[0]", "`params.yaml` has no 'trainin'. Did you mean 'training'"),
        ("training.itms.x=1", "`training` has no 'itms'. Did you mean 'items'"),
        ("training.seeds.0=5", "`training.seeds` is a value, not a section"),
        ("training.device.kind=5", "`training.device` is a value, not a section"),
        ("windows.forecast.lokback=40", "Did you mean 'lookback'"),
        ("windows=5", "windows: input should be"),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(path, setting, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        editing.assign(path, [setting])
    assert path.read_text() == TEXT


@pytest.mark.few(5)
@pytest.mark.parametrize(
    "value", ["http://host:5000", "# no: comment", "on", "1e-3", "null", " a ", "'\"", "é ✓", "a\nb", "[", "{a: b}", "~", "x" * 300, ""]
)
def test_exotic_values_come_back_as_they_went(path, value):
    editing.assign(path, [f"tracking.uri={json.dumps(value)}"])
    assert config.read(path).tracking.uri == value
    editing.assign(path, ["registry.min_gain=0.25"])
    assert config.read(path).tracking.uri == value


def test_numbers_come_back_as_they_went(path):
    editing.assign(path, ["training.forecast.learning_rate=1e-3", "training.forecast.clip_norm=0x10", f"training.seeds=[{2**63 - 1}]"])
    params = config.read(path)
    assert (params.training.forecast.learning_rate, params.training.forecast.clip_norm, params.training.seeds) == (0.001, 16.0, [2**63 - 1])


def test_a_new_name_is_added_to_a_dictionary_of_names(path):
    editing.assign(path, ["ingestion.sources.aapl=['a b/*.csv', 'C:\\x']"])
    assert config.read(path).ingestion.sources == {"aapl": ["a b/*.csv", "C:\\x"]}


def test_another_file_takes_its_place_only_if_it_is_good(path, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(TEXT.replace("min_gain: 0.0", "min_gain: 2.0"))
    with pytest.raises(ConfigError, match=r"other\.yaml:\d+: registry\.min_gain"):
        editing.replace(path, other)
    assert path.read_text() == TEXT
    other.write_text(TEXT.replace("min_gain: 0.0", "min_gain: 0.5"))
    assert "+  min_gain: 0.5" in editing.replace(path, other)
    assert config.read(path).registry.min_gain == 0.5


def test_an_item_is_trained_as_its_task_says_but_for_what_it_says_itself(path):
    editing.assign(path, ["training.items.goog-lstm.learning_rate=0.05", "training.items.goog-lstm.optimizer=rmsprop"])
    params = config.read(path)
    usual = params.training.forecast
    assert params.optimisation_of("goog-lstm") == usual.model_copy(update={"learning_rate": 0.05, "optimizer": "rmsprop"})
    assert params.optimisation_of("goog-gru") == usual and usual.learning_rate != 0.05
