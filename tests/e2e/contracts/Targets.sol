// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import {PackedUserOperation} from "./Types.sol";

// What sessions act on.

contract Counter {
    mapping(address account => uint256) public count;
    uint256 public total;

    event Counted(address indexed by, uint256 count);

    function increment() external payable {
        total += 1;
        emit Counted(msg.sender, ++count[msg.sender]);
    }

    function add(uint256 n) external payable {
        total += n;
        emit Counted(msg.sender, count[msg.sender] += n);
    }

    function fail() external pure {
        revert("Counter: fail");
    }
}

contract Token {
    string public constant name = "Test Dollar";
    string public constant symbol = "TUSD";
    uint8 public constant decimals = 18;
    uint256 public totalSupply;
    mapping(address holder => uint256) public balanceOf;
    mapping(address holder => mapping(address spender => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        return _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        allowance[from][msg.sender] -= value;
        return _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
        return true;
    }
}

/// Pays for every operation that names it.
contract AcceptAllPaymaster {
    function validatePaymasterUserOp(PackedUserOperation calldata, bytes32, uint256)
        external
        pure
        returns (bytes memory context, uint256 validationData)
    {
        return ("", 0);
    }

    function postOp(uint8, bytes calldata, uint256, uint256) external {}
}
