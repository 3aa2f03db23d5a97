// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Types.sol";

/// Stands in for the multi-owner ECDSA validator the SDKs call OwnableValidator: same ABI, same configuration
/// (abi.encode(uint256 threshold, address[] owners)), signatures as 65-byte chunks. It takes the three forms
/// in use: over the hash itself, over its EIP-191 form (what `signMessage` of the SDKs yields), and eth_sign
/// with v + 4.
contract OwnableValidator {
    mapping(address account => uint256) public threshold;
    mapping(address account => address[]) private _owners;

    error InvalidSignature();

    function onInstall(bytes calldata data) external {
        require(threshold[msg.sender] == 0, "already installed");
        (uint256 count, address[] memory owners) = abi.decode(data, (uint256, address[]));
        require(count != 0 && owners.length >= count, "bad configuration");
        threshold[msg.sender] = count;
        _owners[msg.sender] = owners;
    }

    function onUninstall(bytes calldata) external {
        delete threshold[msg.sender];
        delete _owners[msg.sender];
    }

    function isInitialized(address account) external view returns (bool) {
        return threshold[account] != 0;
    }

    /// ERC-7579: 1 validator, 7 stateless validator.
    function isModuleType(uint256 moduleType) external pure returns (bool) {
        return moduleType == 1 || moduleType == 7;
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId != 0xffffffff;
    }

    function getOwners(address account) external view returns (address[] memory) {
        return _owners[account];
    }

    function validateUserOp(PackedUserOperation calldata op, bytes32 opHash) external view returns (uint256) {
        return _signed(opHash, op.signature, threshold[op.sender], _owners[op.sender]) ? 0 : 1;
    }

    function isValidSignatureWithSender(address, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        bool signed = _signed(hash, signature, threshold[msg.sender], _owners[msg.sender]);
        return signed ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }

    function validateSignatureWithData(bytes32 hash, bytes calldata signature, bytes calldata data)
        external
        view
        returns (bool)
    {
        (uint256 count, address[] memory owners) = abi.decode(data, (uint256, address[]));
        return _signed(hash, signature, count, owners);
    }

    function _signed(bytes32 hash, bytes calldata signature, uint256 count, address[] memory owners)
        private
        pure
        returns (bool)
    {
        if (count == 0) return false;
        if (signature.length < 65 * count) revert InvalidSignature();
        uint256 valid;
        address previous;
        for (uint256 i; i < count; ++i) {
            address owner = _ownerWho(hash, signature[65 * i:65 * i + 65], owners);
            if (owner == address(0) || owner == previous) continue;
            previous = owner;
            ++valid;
        }
        return valid >= count;
    }

    /// The owner who made one signature, zero when none of them did.
    function _ownerWho(bytes32 hash, bytes calldata signature, address[] memory owners)
        private
        pure
        returns (address)
    {
        bytes32 prefixed = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash));
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        address overHash = ecrecover(hash, v, r, s);
        address overPrefixed = ecrecover(prefixed, v > 30 ? v - 4 : v, r, s);
        for (uint256 i; i < owners.length; ++i) {
            if (owners[i] == overHash || owners[i] == overPrefixed) return owners[i];
        }
        return address(0);
    }
}
