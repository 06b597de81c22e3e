# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dissector.filter_names import BY_NAME
from dissector.wireshark.program import Folders
from dissector.wireshark.setup import (
    PROFILE,
    PROFILE_MARKER,
    Places,
    SetupError,
    changed,
    install,
    is_ours,
    places,
    profile_files,
    recorded,
    uninstall,
)
from dissector.wireshark.starter import text
from tests.wireshark.tools import PLUGIN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def where(tmp_path):
    return places(Folders(tmp_path / "plugins", tmp_path / "config", tmp_path / "extcap"))


def test_places(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    folders = Folders(one / "p", one / "c", one / "x", other / "p", other / "c", other / "x")
    for folder, everyone in ((one, False), (other, True)):
        found = places(folders, everyone=everyone)
        assert found == Places(folder / "p/xenmig.lua", folder / "c/profiles" / PROFILE, folder / "x/xendissect-extcap")
    with pytest.raises(SetupError, match="leave out --global"):
        places(Folders(one / "p", one / "c", one / "x"), everyone=True)
    assert places(Folders(*(one / name for name in "pcxqd")), everyone=True).starter is None


def test_install_and_uninstall(where):
    files = [f"plugin   {where.plugin}", f"profile  {where.profile}", f"capture  {where.starter}"]
    assert install(where, PLUGIN) == files
    assert where.plugin.read_text() == PLUGIN
    assert is_ours(where.plugin)
    assert {path.name for path in where.profile.iterdir()} == {*profile_files(), PROFILE_MARKER}
    assert changed(where.profile) == []
    assert where.starter.read_text() == text()
    assert is_ours(where.starter)
    assert os.access(where.starter, os.X_OK)
    assert not os.access(where.plugin, os.X_OK) or os.geteuid() == 0
    assert uninstall(where) == [f"removed  {path}" for path in (where.plugin, where.profile, where.starter)]
    assert not any(path.exists() for path in (where.plugin, where.profile, where.starter))
    assert uninstall(where) == []


def test_without_a_place_for_the_starter(where):
    where = replace(where, starter=None)
    assert len(install(where, PLUGIN)) == 2
    assert len(uninstall(where)) == 2


def test_the_starter_of_somebody_else_stays(where):
    where.starter.parent.mkdir()
    where.starter.write_text("#!/bin/sh\n")
    with pytest.raises(SetupError, match=r"xendissect-extcap was not made by xendissect; .*--force"):
        install(where, PLUGIN)
    assert not where.plugin.exists()
    assert uninstall(where) == [f"left     {where.starter}: it was not made by xendissect"]
    install(where, PLUGIN, force=True)
    assert where.starter.read_text() == text()


def test_installing_again_brings_up_to_date(where):
    install(where, PLUGIN + "-- old\n")
    (where.profile / "preferences").unlink()
    install(where, PLUGIN)
    assert where.plugin.read_text() == PLUGIN
    assert (where.profile / "preferences").read_text() == profile_files()["preferences"]


def test_the_plugin_of_somebody_else_stays(where):
    where.plugin.parent.mkdir()
    where.plugin.write_text("-- mine\n")
    with pytest.raises(SetupError, match=r"was not made by xendissect; .*--force"):
        install(where, PLUGIN)
    assert not where.profile.exists()
    assert uninstall(where) == [f"left     {where.plugin}: it was not made by xendissect"]
    assert where.plugin.read_text() == "-- mine\n"
    install(where, PLUGIN, force=True)
    assert where.plugin.read_text() == PLUGIN


def test_the_profile_of_somebody_else_stays(where):
    where.profile.mkdir(parents=True)
    (where.profile / "colorfilters").write_text("# mine\n")
    with pytest.raises(SetupError, match=r"was not made by xendissect; .*--force"):
        install(where, PLUGIN)
    assert not where.plugin.exists()
    assert uninstall(where) == [f"left     {where.profile}: it was not made by xendissect"]
    install(where, PLUGIN, force=True)
    assert (where.profile / "colorfilters").read_text() == profile_files()["colorfilters"]


def test_an_empty_profile_is_in_nobodys_way(where):
    where.profile.mkdir(parents=True)
    assert install(where, PLUGIN)


def test_changes_of_the_user_are_kept(where):
    install(where, PLUGIN)
    mine = where.profile / "colorfilters"
    mine.write_text("# mine\n")
    assert changed(where.profile) == ["colorfilters"]
    for _ in range(2):
        assert install(where, PLUGIN)[2:-1] == [f"kept     {mine}: you changed it (--force overwrites it)"]
        assert mine.read_text() == "# mine\n"
    assert uninstall(where) == [
        f"removed  {where.plugin}",
        f"left     {mine}: you made or changed it (--force removes it)",
        f"removed  {where.starter}",
    ]
    assert [path.name for path in where.profile.iterdir()] == ["colorfilters"]


def test_force_takes_changes_away(where):
    install(where, PLUGIN)
    mine = where.profile / "colorfilters"
    mine.write_text("# mine\n")
    install(where, PLUGIN, force=True)
    assert changed(where.profile) == []
    mine.write_text("# mine\n")
    uninstall(where, force=True)
    assert not where.profile.exists()


def test_what_wireshark_writes_by_itself_goes_with_the_profile(where):
    install(where, PLUGIN)
    recent = where.profile / "recent"
    recent.write_text("gui.toolbar_main_show: TRUE\n")
    assert changed(where.profile) == []
    install(where, PLUGIN)
    assert recent.read_text() == "gui.toolbar_main_show: TRUE\n"
    assert f"removed  {where.profile}" in uninstall(where)


def test_files_added_by_the_user_stay(where):
    install(where, PLUGIN)
    (where.profile / "dfilters").write_text('"mine" tcp\n')
    assert uninstall(where)[1:-1] == [
        f"left     {where.profile / 'dfilters'}: you made or changed it (--force removes it)"
    ]
    assert [path.name for path in where.profile.iterdir()] == ["dfilters"]


def test_a_folder_that_cannot_be_written_is_one_line(where):
    where.plugin.parent.parent.mkdir(exist_ok=True)
    where.plugin.parent.write_text("a file, not a folder")
    with pytest.raises(SetupError, match=str(where.plugin.parent)) as caught:
        install(where, PLUGIN)
    assert "\n" not in str(caught.value)


def test_the_marker_names_every_file(where):
    install(where, PLUGIN)
    assert set(recorded(where.profile)) == set(profile_files()) - {"recent"}
    (where.profile / PROFILE_MARKER).write_bytes(b"\xff\xfe")
    assert recorded(where.profile) is None


# -- the profile itself ----------------------------------------------------------------------------------------------


def test_the_committed_profile_is_the_installed_one():
    committed = {path.name: path.read_text() for path in (ROOT / "lua" / "profile").iterdir()}
    assert committed == profile_files(), "cp dissector/templates/profile/* lua/profile/"


@pytest.mark.parametrize("name", sorted(profile_files()))
def test_the_profile_names_fields_that_exist(name):
    used = set(re.findall(r"xenmig\.[\w.]+", profile_files()[name]))
    assert used <= set(BY_NAME)
    assert used


def test_there_is_a_button_for_each_thing_people_look_for():
    buttons = profile_files()["dfilter_buttons"]
    for label in ("Checkpoints", "Back channel", "Findings", "Config"):
        assert f'"TRUE","{label}","xenmig.' in buttons


def test_the_columns():
    columns = re.findall(r'^\t"([^"]+)", "%', profile_files()["preferences"], re.MULTILINE)
    expected = "No., Time, Source, Destination, Protocol, Length, Direction, Record, Stream offset, Info"
    assert ", ".join(columns) == expected


def test_the_package_carries_the_profile():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    carried = settings["tool"]["setuptools"]["package-data"]["dissector"]
    assert "templates/profile/*" in carried
