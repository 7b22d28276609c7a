"""Path rewriting, $(VAR) expansion and working directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcluster.kubelet.environment import expand, path_rewriter, working_directory

REWRITES = [
    ("/workspace", "/real/ws"),
    ("/workspace/train.py", "/real/ws/train.py"),
    ("cd /workspace && ls /workspace/", "cd /real/ws && ls /real/ws/"),
    ("--out=/workspace/x", "--out=/real/ws/x"),
    ("file:///workspace/x", "file:///real/ws/x"),
    ("a:/workspace:/out", "a:/real/ws:/real/out"),
    ('["/workspace"]', '["/real/ws"]'),
    ("/workspace/data/x", "/real/data/x"),  # the longer mount path wins
    ("/workspaces", "/workspaces"),
    ("/workspace2/x", "/workspace2/x"),
    ("/workspace-old", "/workspace-old"),
    ("/workspace.bak", "/workspace.bak"),
    ("/home/workspace", "/home/workspace"),
    ("/home/x/workspace", "/home/x/workspace"),
    ("$HOME/workspace", "$HOME/workspace"),
    ("${HOME}/workspace", "${HOME}/workspace"),
    ("./workspace/../workspace", "./workspace/../workspace"),
    ("s3://bucket/workspace", "s3://bucket/workspace"),
    ("https://host/workspace", "https://host/workspace"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "wanted"), REWRITES, ids=[row[0] or "empty" for row in REWRITES])
def test_only_whole_mount_paths_are_rewritten(text: str, wanted: str) -> None:
    rewrite = path_rewriter({"/workspace": "/real/ws", "/workspace/data": "/real/data", "/out/": "/real/out"})
    assert rewrite(text) == wanted


def test_a_folder_that_contains_a_mount_path_is_not_rewritten_twice() -> None:
    assert path_rewriter({"/tmp": "/tmp/pods/1/tmp"})("/tmp/x") == "/tmp/pods/1/tmp/x"


EXPANSIONS = [
    ("$(A)", "1"),
    ("x$(A)y$(B)", "x1y2"),
    ("$(MISSING)", "$(MISSING)"),
    ("$$(A)", "$(A)"),
    ("$$", "$"),
    ("$A ${A} $", "$A ${A} $"),
    ("$(A", "$(A"),
]


@pytest.mark.parametrize(("text", "wanted"), EXPANSIONS)
def test_references_expand_as_in_kubernetes(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == wanted


DIRECTORIES = [
    ("", "/pod/files"),
    ("/app", "/pod/files/app"),
    ("/workspace", "/real/ws"),
    ("/workspace/sub", "/real/ws/sub"),
    ("/workspaces", "/pod/files/workspaces"),
    ("/../../etc", "/pod/files/etc"),
    ("relative", "/pod/files/relative"),
]


@pytest.mark.parametrize(("wanted", "real"), DIRECTORIES)
def test_a_working_directory_lies_in_a_volume_or_in_the_pods_own_folder(wanted: str, real: str) -> None:
    assert str(working_directory(wanted, Path("/pod/files"), {"/workspace": "/real/ws"})) == real
