// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// A total of gas that operations declare, and of what it may cost. initData: both limits, 16 bytes each.
contract SimpleGasPolicy is Policy, IUserOpPolicy {
    struct Meter {
        uint256 gasLimit;
        uint256 gasUsed;
        uint256 costLimit;
        uint256 costUsed;
    }

    mapping(bytes32 id => mapping(address multiplexer => mapping(address account => Meter))) private _meters;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        if (initData.length < 32) revert PolicyNotInitialized(id, msg.sender, account);
        Meter memory meter = Meter(uint128(bytes16(initData[0:16])), 0, uint128(bytes16(initData[16:32])), 0);
        if (meter.gasLimit == 0 || meter.costLimit == 0) revert PolicyNotInitialized(id, msg.sender, account);
        _meters[id][msg.sender][account] = meter;
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IUserOpPolicy).interfaceId;
    }

    function getGasConfig(bytes32 id, address multiplexer, address account)
        external
        view
        returns (uint256, uint256, uint256, uint256)
    {
        Meter memory meter = _meters[id][multiplexer][account];
        return (meter.gasLimit, meter.gasUsed, meter.costLimit, meter.costUsed);
    }

    function checkUserOpPolicy(bytes32 id, PackedUserOperation calldata op) external returns (uint256) {
        Meter storage meter = _meters[id][msg.sender][op.sender];
        if (meter.gasLimit == 0) revert PolicyNotInitialized(id, msg.sender, op.sender);
        uint256 units = _declared(op);
        uint256 cost = units * _price(op.gasFees);
        if (meter.gasUsed + units > meter.gasLimit || meter.costUsed + cost > meter.costLimit) return FAILED;
        meter.gasUsed += units;
        meter.costUsed += cost;
        return PASSED;
    }

    function _declared(PackedUserOperation calldata op) private pure returns (uint256 units) {
        units = uint256(op.accountGasLimits >> 128) + uint128(uint256(op.accountGasLimits)) + op.preVerificationGas;
        bytes calldata paymaster = op.paymasterAndData;
        if (paymaster.length < 52) return units;
        units += uint128(bytes16(paymaster[20:36]));
        units += uint128(bytes16(paymaster[36:52]));
    }

    function _price(bytes32 gasFees) private view returns (uint256) {
        uint256 priority = uint256(gasFees >> 128);
        uint256 highest = uint128(uint256(gasFees));
        if (priority == highest || priority + block.basefee > highest) return highest;
        return priority + block.basefee;
    }
}
