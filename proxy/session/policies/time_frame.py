"""TimeFramePolicy: from when until when. It returns the window; the entry point compares it with the clock."""

from __future__ import annotations

from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import (
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    SignedAction,
    UserOpView,
    not_initialised,
    revert_not_initialised,
)
from proxy.session.revert import BARE, Revert
from proxy.session.validity import UINT48_MAX, pack
from proxy.userop.execution import Call


@record()
class TimeFrame(PolicyConfig):
    """Unix seconds (uint48); `valid_until` 0 never ends."""

    valid_until: int
    valid_after: int


class TimeFramePolicy:
    """erc7579/smartsessions `TimeFramePolicy.sol`, the code of August 2025."""

    name = "TimeFramePolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:
        """12 bytes: uint48 validUntil ‖ uint48 validAfter; the rest is ignored.

        Both zero initialise, and revert at every check: this is what the older 32-byte form turns into.
        """
        if len(init_data) < 12:
            return BARE
        frame = TimeFrame(int.from_bytes(init_data[:6], "big"), int.from_bytes(init_data[6:12], "big"))
        if frame.valid_until and frame.valid_after > frame.valid_until:
            return revert_not_initialised(key)
        return Initialised(frame)

    @staticmethod
    def from_getters(time_frame_config: int) -> Initialised:
        """From getTimeFrameConfig(configId, multiplexer, account): validUntil << 48 | validAfter."""
        return Initialised(TimeFrame(time_frame_config >> 48 & UINT48_MAX, time_frame_config & UINT48_MAX))

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # the frame looks at the clock only
        """The frame as validation data."""
        return self.frame(config, key)

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # the frame looks at the clock only
        """The frame as validation data."""
        return self.frame(config, key)

    def check_1271(self, config: PolicyConfig | None, signed: SignedAction, key: ConfigKey) -> bool | PolicyReverted:
        """Against the block's time: before validUntil (exclusive), from validAfter on (inclusive)."""
        if not isinstance(config, TimeFrame) or not (config.valid_until or config.valid_after):
            return not_initialised(self.name, key)
        return (signed.now < config.valid_until or not config.valid_until) and signed.now >= config.valid_after

    def frame(self, config: PolicyConfig | None, key: ConfigKey) -> Outcome:
        """The same answer for every operation."""
        if not isinstance(config, TimeFrame) or not (config.valid_until or config.valid_after):
            return not_initialised(self.name, key)
        return Passed(pack(config.valid_after, config.valid_until))


class TimeFramePolicyV1(TimeFramePolicy):
    """The generation of October 2024: another encoding, and no check of the order."""

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # nothing is refused but short data
        """32 bytes: uint128 validUntil ‖ uint128 validAfter, of which the low 48 bits are kept."""
        if len(init_data) < 32:
            return BARE
        return Initialised(TimeFrame(int.from_bytes(init_data[10:16], "big"), int.from_bytes(init_data[26:32], "big")))
