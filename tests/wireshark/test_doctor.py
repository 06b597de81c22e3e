# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import shutil

import pytest

from dissector.live import child
from dissector.wireshark import doctor
from dissector.wireshark.doctor import Check, examine, find_copies
from dissector.wireshark.program import folders
from dissector.wireshark.setup import PROFILE, install, places
from tests.wireshark.tools import PLUGIN, fake_program, real_tshark

GOOD = "TShark (Wireshark) 4.4.18, with Lua 5.4.7"
SEES = "echo DOMAIN_HEADER"
UNKNOWN = 'echo "tshark: Some fields aren\'t valid:" >&2; exit 1'


@pytest.fixture
def fake(home, monkeypatch):
    """A PATH with nothing but a tshark that says what it is told to say; returns a function that makes it."""
    bin_folder = home / "bin"
    monkeypatch.setattr(doctor, "_permission", lambda: Check("ok", "capturing is permitted"))
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.setattr(
        shutil, "which", lambda name, path=None: str(bin_folder / name) if (bin_folder / name).exists() else None
    )

    def make(version=GOOD, reads=SEES, name="tshark", **more):
        fake_program(bin_folder, name, version, home, reads, **more)
        return folders(str(bin_folder / name))

    return make


def wrong(**options):
    return [check.text for check in examine(PLUGIN, root=False, **options) if check.level == "wrong"]


def levels(root=False):
    return [check.level for check in examine(PLUGIN, root=root)]


# -- all is well -----------------------------------------------------------------------------------------------------


def test_with_the_real_wireshark(home):
    path = real_tshark().path
    install(places(folders(path)), PLUGIN)
    found = list(examine(PLUGIN))
    assert [check.level for check in found if check.level != "note"] in (["ok"] * 5, ["ok"] * 6), found
    assert found[-1].text.endswith("loads the plugin and finds a migration with it")


def test_before_and_after_installing(fake):
    found = fake()
    assert levels() == ["ok", "wrong", "note", "note"]
    install(places(found), PLUGIN)
    assert levels() == ["ok"] * 6


def test_root_may_have_a_global_plugin(fake):
    install(places(fake(), everyone=True), PLUGIN)
    assert levels(root=True) == ["ok"] * 6


def test_a_profile_with_changes_is_fine(fake):
    where = places(fake())
    install(where, PLUGIN)
    (where.profile / "preferences").write_text("gui.column.format: \n")
    assert levels() == ["ok"] * 6
    assert any("with your changes in preferences" in check.text for check in examine(PLUGIN, root=False))


# -- programs --------------------------------------------------------------------------------------------------------


def test_nothing_installed(fake):
    assert "install it" in wrong()[0]
    fake("Wireshark 4.4.18, with Lua 5.4.7", name="wireshark")
    assert "Wireshark is there, but tshark is not found" in wrong()[0]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("TShark (Wireshark) 3.6.2, with Lua 5.2.4", "tshark 3.6.2 is too old: install Wireshark 4.0 or later"),
        ("TShark (Wireshark) 4.4.18, without Lua", "was built without Lua"),
        ("something else", "does not answer to --version"),
    ],
)
def test_a_wireshark_that_cannot_work(fake, version, said):
    install(places(fake(version)), PLUGIN)
    (text,) = wrong()
    assert said in text


def test_wireshark_of_another_version(fake):
    install(places(fake()), PLUGIN)
    fake("Wireshark 4.6.0, with Lua 5.4.7", name="wireshark")
    assert levels() == ["ok", "note", *["ok"] * 5]


# -- files -----------------------------------------------------------------------------------------------------------


def test_an_old_plugin(fake):
    install(places(fake()), PLUGIN + "-- old\n")
    (text,) = wrong()
    assert text.endswith("is not what this xendissect writes: xendissect wireshark install")


def test_an_old_global_plugin(fake):
    install(places(fake(), everyone=True), PLUGIN + "-- old\n")
    (text,) = wrong()
    assert text.endswith("xendissect wireshark install --global")


def test_a_plugin_of_somebody_else_with_our_name(fake):
    where = places(fake())
    where.plugin.parent.mkdir()
    where.plugin.write_text("-- mine\n")
    (text,) = wrong()
    assert "was not made by xendissect" in text


def test_the_plugin_twice(fake):
    found = fake()
    install(places(found), PLUGIN)
    install(places(found, everyone=True), PLUGIN)
    (text,) = wrong()
    assert "there 2 times" in text
    assert str(found.plugins) in text
    assert str(found.global_plugins) in text


def test_a_copy_with_another_name(fake):
    found = fake()
    install(places(found), PLUGIN)
    other = found.plugins / "more" / "prototype.lua"
    other.parent.mkdir()
    other.write_text('local p = Proto.new("xenmig", "prototype")\n')
    (found.plugins / "unrelated.lua").write_text('local p = Proto("other", "other")\n')
    assert set(find_copies(found)) == {found.plugins / "xenmig.lua", other}
    assert len(wrong()) == 2


def test_a_plugin_in_the_deprecated_folder(fake):
    found = fake()
    found.deprecated_plugins.mkdir(parents=True)
    (found.deprecated_plugins / "xenmig.lua").write_text(PLUGIN)
    (text,) = wrong()
    assert "no longer used" in text
    assert "delete it" in text


@pytest.mark.parametrize("line", ["enable_lua = false", "  enable_lua=false", "disable_lua = true"])
def test_lua_switched_off(fake, line):
    """Only looked for when the plugin is not loaded: 4.0 heeds the global file alone, later ones all of them."""
    found = fake(reads=UNKNOWN)
    install(places(found), PLUGIN)
    (found.plugins / "init.lua").write_text(f"-- my settings\n{line}\n")
    not_loaded, text = wrong()
    assert "does not load the plugin" in not_loaded
    assert "init.lua switches Lua off" in text
    (found.plugins / "init.lua").write_text(f"-- {line}\nenable_lua = true\n")
    assert wrong() == [not_loaded]


@pytest.mark.parametrize(
    ("name", "text"), [("disabled_protos", "xenmig\n"), ("heuristic_protos", "h1,1\nxenmig_tcp,0\n")]
)
def test_dissector_switched_off(fake, name, text):
    found = fake(reads="echo")
    install(places(found), PLUGIN)
    (found.configuration / name).write_text(text)
    _, said = wrong()
    assert str(found.configuration / name) in said
    assert "Enabled Protocols" in said


def test_dissector_switched_off_in_the_profile(fake):
    where = places(fake(reads=f'[ "$1" = -C ] || {SEES}'))
    install(where, PLUGIN)
    (where.profile / "disabled_protos").write_text("xenmig\n")
    first, second = wrong()
    assert "finds no migration with the profile" in first
    assert str(where.profile) in second


def test_a_profile_that_is_not_ours_is_no_error(fake):
    where = places(fake())
    install(where, PLUGIN)
    (where.profile / "xendissect.sha256").unlink()
    assert levels() == ["ok", "ok", "note", "ok", "ok", "ok"]


def test_an_old_profile(fake, monkeypatch):
    install(places(fake()), PLUGIN)
    monkeypatch.setattr("dissector.wireshark.doctor.profile_files", lambda: {"preferences": "new"})
    assert levels() == ["ok", "ok", "note", "ok", "ok", "ok"]


# -- trying it -------------------------------------------------------------------------------------------------------


def test_the_root_trap(fake):
    install(places(fake(reads=UNKNOWN)), PLUGIN)
    found = list(examine(PLUGIN, root=True))
    assert [check.level for check in found] == [*["ok"] * 5, "wrong"]
    assert "run by root ignores personal plugins" in found[-1].text
    assert "--global" in found[-1].text


def test_older_wiresharks_load_the_plugins_of_root(fake):
    install(places(fake("TShark (Wireshark) 4.2.1, with Lua 5.2.4")), PLUGIN)
    assert levels(root=True) == ["ok"] * 6


def test_who_is_root_is_looked_up(fake, monkeypatch):
    install(places(fake(reads=UNKNOWN)), PLUGIN)
    for user, said in ((0, "run by root"), (1000, "does not load the plugin")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert said in list(examine(PLUGIN))[-1].text


@pytest.mark.parametrize(
    ("reads", "said"),
    [
        ("echo 'tshark: Lua: Error during loading:' >&2; echo 'x.lua:2: oh no' >&2", "loading: x.lua:2: oh no"),
        ('echo "tshark: Some fields aren\'t valid:" >&2; exit 1', "does not load the plugin"),
        ("echo", "does not dissect with it"),
    ],
)
def test_what_goes_wrong(fake, reads, said):
    install(places(fake(reads=reads)), PLUGIN)
    (text,) = wrong()
    assert said in text
    assert "\n" not in text


def test_complaints_about_the_profile(fake):
    install(places(fake(reads=f'{SEES}; [ "$1" != -C ] || echo "what is $2?" >&2')), PLUGIN)
    (note,) = [check for check in examine(PLUGIN, root=False) if check.level == "note"]
    assert note.text.endswith(f"complains about the profile {PROFILE!r}: what is {PROFILE}?")


# -- capturing -------------------------------------------------------------------------------------------------------


def starter(fake, **options):
    where = places(fake(**options))
    install(where, PLUGIN)
    return where.starter


def test_an_old_starter(fake):
    path = starter(fake)
    path.write_text(path.read_text().replace("exec ", "exec /old/"))
    (text,) = wrong()
    assert text == f"{path} does not start this xendissect: xendissect wireshark install"


def test_a_starter_of_somebody_else(fake):
    starter(fake).write_text("#!/bin/sh\n")
    (text,) = wrong()
    assert text.endswith("was not made by xendissect, but has its name: remove it")


def test_a_starter_that_cannot_be_executed(fake):
    starter(fake).chmod(0o644)
    (text,) = wrong()
    assert "cannot be executed: xendissect wireshark install" in text


def test_interfaces_that_are_not_listed(fake, monkeypatch):
    path = starter(fake, lists="echo '1. eth0'")
    (text,) = wrong()
    assert "does not list the interfaces of" in text
    broken = "#!/bin/sh\n# generated by xendissect\necho 'no module' >&2\nexit 3\n"
    monkeypatch.setattr("dissector.wireshark.starter.text", lambda: broken)
    path.write_text(broken)
    (text,) = wrong()
    assert text == f"{path} does not work: no module"


def test_a_global_starter(fake):
    found = fake()
    install(places(found, everyone=True), PLUGIN)
    path = places(found, everyone=True).starter
    path.write_text(path.read_text() + "# old\n")
    (text,) = wrong()
    assert text == f"{path} does not start this xendissect: xendissect wireshark install --global"


@pytest.mark.parametrize(
    ("ring", "tools", "level", "said"),
    [
        (True, (), "ok", "a packet ring of the kernel"),
        (False, ("dumpcap", "tcpdump"), "ok", "through dumpcap"),
        (False, ("tcpdump",), "ok", "through tcpdump"),
        (False, (), "note", "needs the right to (CAP_NET_RAW)"),
    ],
)
def test_whether_capturing_is_permitted(monkeypatch, ring, tools, level, said):
    class Socket:
        def __init__(self, *arguments):
            if not ring:
                raise PermissionError

        def close(self):
            pass

    monkeypatch.setattr(doctor.socket, "socket", Socket)
    monkeypatch.setattr(child, "may_capture", lambda tool: tool in tools)
    check = doctor._permission()
    assert check.level == level
    assert said in check.text
