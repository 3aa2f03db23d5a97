// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// A total per token over transfers and approvals together. initData: abi.encode(address[] tokens, uint256[] limits).
contract ERC20SpendingLimitPolicy is Policy, IActionPolicy {
    struct Budget {
        uint256 limit;
        uint256 spent;
        uint256 approved;
    }

    error InvalidTokenAddress(address token);
    error InvalidLimit(uint256 limit);
    error InvalidInitDataLength();

    event TokenSpent(
        bytes32 id, address multiplexer, address token, address account, uint256 amount, uint256 remaining
    );

    bytes4 private constant TRANSFER = 0xa9059cbb;
    bytes4 private constant TRANSFER_FROM = 0x23b872dd;
    bytes4 private constant APPROVE = 0x095ea7b3;
    bytes4 private constant INCREASE_ALLOWANCE = 0x39509351;

    mapping(
        bytes32 id => mapping(address multiplexer => mapping(address token => mapping(address account => Budget)))
    ) private _budgets;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        (address[] memory tokens, uint256[] memory limits) = abi.decode(initData, (address[], uint256[]));
        if (tokens.length != limits.length) revert InvalidInitDataLength();
        for (uint256 i; i < tokens.length; ++i) {
            if (tokens[i] == address(0)) revert InvalidTokenAddress(tokens[i]);
            if (limits[i] == 0) revert InvalidLimit(limits[i]);
            _budgets[id][msg.sender][tokens[i]][account] = Budget(limits[i], 0, 0);
        }
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IActionPolicy).interfaceId;
    }

    function getPolicyData(bytes32 id, address multiplexer, address token, address account)
        external
        view
        returns (uint256 limit, uint256 spent, uint256 approved)
    {
        Budget memory budget = _budgets[id][multiplexer][token][account];
        if (budget.limit == 0) revert InvalidTokenAddress(token);
        return (budget.limit, budget.spent, budget.approved);
    }

    function checkAction(bytes32 id, address account, address token, uint256 value, bytes calldata data)
        external
        returns (uint256)
    {
        if (value != 0) return FAILED;
        (bool known, bool approval, uint256 amount) = _cost(data, account);
        if (!known) return FAILED;
        Budget storage budget = _budgets[id][msg.sender][token][account];
        if (approval) budget.approved += amount;
        else budget.spent += amount;
        uint256 total = budget.spent + budget.approved;
        if (total > budget.limit) return FAILED; // the caller undoes the whole validation, the write included
        emit TokenSpent(id, msg.sender, token, account, amount, budget.limit - total);
        return PASSED;
    }

    function _cost(bytes calldata data, address account)
        private
        pure
        returns (bool known, bool approval, uint256 amount)
    {
        bytes4 selector = bytes4(data[0:4]);
        if (selector == TRANSFER_FROM) {
            (, address to, uint256 moved) = abi.decode(data[4:], (address, address, uint256));
            return (true, false, to == account ? 0 : moved);
        }
        approval = selector == APPROVE || selector == INCREASE_ALLOWANCE;
        if (!approval && selector != TRANSFER) return (false, false, 0);
        (, amount) = abi.decode(data[4:], (address, uint256));
        return (true, approval, amount);
    }
}
