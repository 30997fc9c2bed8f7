"""A store whose process dies at a chosen moment."""

from pipeline.dataset.store import LocalStore


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class DyingStore(LocalStore):
    """A store whose process dies before its n-th change."""

    def __init__(self, root, die_at):
        super().__init__(root)
        self.left = die_at

    def _tick(self):
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, path, content):
        self._tick()
        super().write(path, content)

    def create(self, path, content):
        self._tick()
        super().create(path, content)

    def delete(self, path):
        self._tick()
        super().delete(path)
