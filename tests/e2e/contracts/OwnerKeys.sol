// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Types.sol";

/// What the validators and signers of one key have in common: over the hash itself, or over its EIP-191 form.
abstract contract OneKey {
    function _signed(address owner, bytes32 hash, bytes calldata signature) internal pure returns (bool) {
        if (owner == address(0) || signature.length != 65) return false;
        bytes32 prefixed = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash));
        return _recover(hash, signature) == owner || _recover(prefixed, signature) == owner;
    }

    function _recover(bytes32 hash, bytes calldata signature) private pure returns (address) {
        return ecrecover(hash, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId != 0xffffffff;
    }
}

/// Stands in for the validators of an account's one owner that SDKs install with the owner's address as data: Biconomy's
/// K1 MEE validator, of which only plain signatures are known here, and ZeroDev's ECDSA validator.
contract OwnerKeyValidator is OneKey {
    mapping(address account => address) public ownerOf;

    function onInstall(bytes calldata data) external payable {
        ownerOf[msg.sender] = address(bytes20(data[:20]));
    }

    function onUninstall(bytes calldata) external payable {
        delete ownerOf[msg.sender];
    }

    function isInitialized(address account) external view returns (bool) {
        return ownerOf[account] != address(0);
    }

    /// Whose signature requests Biconomy's takes without its account's own envelope: nobody's is enveloped here.
    function addSafeSender(address) external {}

    function isModuleType(uint256 moduleType) external pure returns (bool) {
        return moduleType == 1;
    }

    function validateUserOp(PackedUserOperation calldata op, bytes32 opHash) external payable returns (uint256) {
        return _signed(ownerOf[msg.sender], opHash, op.signature) ? 0 : 1;
    }

    function isValidSignatureWithSender(address, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        return _signed(ownerOf[msg.sender], hash, signature) ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// Stands in for the contract that checks the key of a Kernel permission. Kernel puts the permission's id before the data.
contract PermissionSigner is OneKey {
    mapping(bytes32 permission => mapping(address account => address)) public keyOf;

    function onInstall(bytes calldata data) external payable {
        keyOf[bytes32(data[:32])][msg.sender] = address(bytes20(data[32:52]));
    }

    function onUninstall(bytes calldata data) external payable {
        delete keyOf[bytes32(data[:32])][msg.sender];
    }

    function isInitialized(address) external pure returns (bool) {
        return true;
    }

    function isModuleType(uint256 moduleType) external pure returns (bool) {
        return moduleType == 6;
    }

    function checkUserOpSignature(bytes32 id, PackedUserOperation calldata op, bytes32 opHash)
        external
        payable
        returns (uint256)
    {
        return _signed(keyOf[id][msg.sender], opHash, op.signature) ? 0 : 1;
    }

    function checkSignature(bytes32 id, address, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        return _signed(keyOf[id][msg.sender], hash, signature) ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// Stands in for ZeroDev's policy that allows everything.
contract AllowAllPermissionPolicy {
    function onInstall(bytes calldata) external payable {}

    function onUninstall(bytes calldata) external payable {}

    function isInitialized(address) external pure returns (bool) {
        return true;
    }

    function isModuleType(uint256 moduleType) external pure returns (bool) {
        return moduleType == 5;
    }

    function checkUserOpPolicy(bytes32, PackedUserOperation calldata) external payable returns (uint256) {
        return 0;
    }

    function checkSignaturePolicy(bytes32, address, bytes32, bytes calldata) external pure returns (uint256) {
        return 0;
    }
}

interface IKernelFactory {
    function createAccount(bytes calldata data, bytes32 salt) external payable returns (address);
}

/// Stands in for ZeroDev's factory of factories, without its stake.
contract KernelMetaFactory {
    function deployWithFactory(IKernelFactory factory, bytes calldata data, bytes32 salt)
        external
        payable
        returns (address)
    {
        return factory.createAccount{value: msg.value}(data, salt);
    }
}

/// Where an SDK only looks whether there is code.
contract Placeholder {
    fallback() external {}
}
