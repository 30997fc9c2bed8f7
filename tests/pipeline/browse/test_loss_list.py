"""The page says what was lost, and with which setting some of it would come back."""

from drawn_dataset import write_drawn_dataset
from present import current_version
from starlette.testclient import TestClient

from pipeline.browse.app import make_app
from pipeline.browse.loss_list import loss_list
from pipeline.dataset.losses import Loss, Losses
from pipeline.dataset.store import LocalStore


def test_a_loss_names_its_share_and_the_setting_that_helps():
    short = Loss("clip_too_short", 3, 30.0, "observe.clips.min_s", 1.5, 2)
    small = Loss("person_too_small", 1, 10.0, "pair.people.min_area", 0.02, 1)
    first, second, third = loss_list(
        Losses(2, 100.0, 5, 2, 60.0, (short, small, Loss("nobody_found", 1, 0.0)))
    )["lost"]
    assert (first["share"], first["change"]) == (0.75, "--set observe.clips.min_s=1.5")
    assert (first["decodes"], second["decodes"]) == (True, False)
    assert (second["back"], third["change"]) == (1, "")


def test_the_page_asks_for_the_losses_of_its_dataset(tmp_path):
    store = LocalStore(str(write_drawn_dataset(tmp_path / "dataset", 2)))
    app = make_app(current_version(store)[0], store, "secret")
    page = TestClient(app, base_url="http://127.0.0.1")
    found = page.get("/api/losses", headers={"Authorization": "token secret"}).json()
    app.state.close()
    assert (found["samples"], found["characters"], found["lost"]) == (8, 2, [])
