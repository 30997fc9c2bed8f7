"""A run takes the engines that its output was begun with, whatever lies on the machine by now."""

import json

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.engine_choice import engines_of, with_engines
from pipeline.curation.plan import SETTINGS
from pipeline.dataset.store import LocalStore
from pipeline.engines.engines_config import EnginesConfig, engines_preset
from pipeline.observing.observe_config import ObserveConfig

EMBEDDED = engines_preset("embedded").observing


def begun(folder, content) -> LocalStore:
    store = LocalStore(str(folder))
    store.write(SETTINGS, json.dumps(content).encode())
    return store


def test_an_output_names_its_engines_and_an_empty_one_none(tmp_path):
    assert engines_of(LocalStore(str(tmp_path / "empty"))) == {}
    observe = {"engines": {**vars(EMBEDDED), "scorers": []}}
    store = begun(tmp_path / "new", {"observe": observe})
    config = with_engines(CurationConfig(), engines_of(store), offline=True)
    assert config.observe.engines == EMBEDDED


def test_settings_of_an_older_version_name_them_too(tmp_path):
    store = begun(tmp_path, {"engines": {**vars(EMBEDDED), "scorers": [], "captions": "vlm"}})
    assert engines_of(store)["masks"] == "grabcut"
    named = ObserveConfig(engines=EnginesConfig(people="ultralytics"))
    config = with_engines(CurationConfig(observe=named), engines_of(store), offline=True)
    assert config.observe.engines.people == "ultralytics"  # which the plan then refuses by name
    assert config.observe.engines.faces == "opencv"
