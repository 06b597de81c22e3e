# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a migration: the consistency rules of stream.md section 7, over events, in both directions.

:mod:`~dissector.spec.rules` says what the rules are; the modules here hold one small function for each, by subject:

========================  ==========================================================================
:mod:`.xl`                header, configuration and messages of xl
:mod:`.libxl`             libxl header and records
:mod:`.libxc`             libxc headers, static data, what is common to all records
:mod:`.pages`             PAGE_DATA and the passes over memory
:mod:`.pv`, :mod:`.hvm`   state of PV and HVM guests at the end of a checkpoint
:mod:`.colo`              checkpoints, the back channel, and how both directions fit together
:mod:`.framing`           what the engine found, judged anew with what is known of the stream
:mod:`.ending`            how the migration ended
:mod:`.releases`          which Xen wrote this, and whether a given Xen would accept it
========================  ==========================================================================

:mod:`.model` says what a check is, :mod:`.session` what is remembered of a stream, :mod:`.checker` puts it together.
Nothing here reads a file. What was not captured is not judged.
"""
