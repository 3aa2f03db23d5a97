// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Types.sol";

/// Stands in for the multi-owner ECDSA validator the SDKs call OwnableValidator: same ABI, same configuration
/// (abi.encode(uint256 threshold, address[] owners)), signatures as 65-byte chunks.
/// A session key's signature is taken as the release at this address was measured to take it: the release of 2025
/// over the hash itself, or over its EIP-191 form with v + 4, every chunk read; the beta (`prefixes`) over the
/// EIP-191 form always, as many chunks read as the threshold has. What an owner signs that the account is asked about
/// (ERC-1271), a grant among it, is taken in the same forms: Rhinestone's SDK adds 4 to v for all that is no operation.
/// What owners sign of operations was not measured: any form is taken.
contract OwnableValidator {
    bool public immutable prefixes;
    mapping(address account => uint256) public threshold;
    mapping(address account => address[]) private _owners;

    error InvalidSignature();

    constructor(bool prefixes_) {
        prefixes = prefixes_;
    }

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
        bool signed = _inForm(hash, signature, threshold[msg.sender], _owners[msg.sender]);
        return signed ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }

    function validateSignatureWithData(bytes32 hash, bytes calldata signature, bytes calldata data)
        external
        view
        returns (bool)
    {
        (uint256 count, address[] memory owners) = abi.decode(data, (uint256, address[]));
        return _inForm(hash, signature, count, owners);
    }

    /// In the form of this release.
    function _inForm(bytes32 hash, bytes calldata signature, uint256 count, address[] memory owners)
        private
        view
        returns (bool)
    {
        uint256 chunks = prefixes ? count : signature.length / 65;
        return _enough(prefixes ? _prefixed(hash) : hash, signature, count, chunks, owners);
    }

    /// An owner's signature of an operation, in any form.
    function _signed(bytes32 hash, bytes calldata signature, uint256 count, address[] memory owners)
        private
        pure
        returns (bool)
    {
        return _enough(hash, signature, count, count, owners)
            || _enough(_prefixed(hash), signature, count, count, owners);
    }

    function _enough(
        bytes32 digest,
        bytes calldata signature,
        uint256 count,
        uint256 chunks,
        address[] memory owners
    ) private pure returns (bool) {
        if (count == 0) return false;
        if (signature.length < 65 * count) revert InvalidSignature();
        bool[] memory seen = new bool[](owners.length);
        uint256 valid;
        for (uint256 i; i < chunks; ++i) {
            address signer = _signer(digest, signature[65 * i:65 * i + 65]);
            for (uint256 j; signer != address(0) && j < owners.length; ++j) {
                if (owners[j] != signer || seen[j]) continue;
                seen[j] = true;
                ++valid;
            }
        }
        return valid >= count;
    }

    /// Who made one signature: over the digest, or with v + 4 over the digest's EIP-191 form.
    function _signer(bytes32 digest, bytes calldata signature) private pure returns (address) {
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        return v > 30 ? ecrecover(_prefixed(digest), v - 4, r, s) : ecrecover(digest, v, r, s);
    }

    function _prefixed(bytes32 hash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash));
    }
}
