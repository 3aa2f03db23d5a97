// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./SessionTypes.sol";

/// The EIP-712 digests an owner signs to enable sessions off chain, on one chain or on several at once.
library SessionDigest {
    string private constant POLICY = "PolicyData(address policy,bytes initData)";
    string private constant CONTEXT = "ERC7739Context(bytes32 appDomainSeparator,string[] contentName)";
    string private constant ERC7739 =
        "ERC7739Data(ERC7739Context[] allowedERC7739Content,PolicyData[] erc1271Policies)";
    string private constant ACTION =
        "ActionData(bytes4 actionTargetSelector,address actionTarget,PolicyData[] actionPolicies)";
    string private constant PERMISSIONS =
        "SignedPermissions(bool permitGenericPolicy,bool permitAdminAccess,bool ignoreSecurityAttestations,bool permitERC4337Paymaster,PolicyData[] userOpPolicies,ERC7739Data erc7739Policies,ActionData[] actions)";
    string private constant SESSION =
        "SignedSession(address account,SignedPermissions permissions,address sessionValidator,bytes sessionValidatorInitData,bytes32 salt,address smartSession,uint256 nonce)";
    string private constant CHAIN = "ChainSession(uint64 chainId,SignedSession session)";
    string private constant MULTI_CHAIN = "MultiChainSession(ChainSession[] sessionsAndChainIds)";

    // EIP-712: a type's own text, then those it refers to in alphabetical order.
    bytes32 private constant POLICY_TYPE = keccak256(bytes(POLICY));
    bytes32 private constant CONTEXT_TYPE = keccak256(bytes(CONTEXT));
    bytes32 private constant ERC7739_TYPE = keccak256(abi.encodePacked(ERC7739, CONTEXT, POLICY));
    bytes32 private constant ACTION_TYPE = keccak256(abi.encodePacked(ACTION, POLICY));
    bytes32 private constant PERMISSIONS_TYPE =
        keccak256(abi.encodePacked(PERMISSIONS, ACTION, CONTEXT, ERC7739, POLICY));
    bytes32 private constant SESSION_TYPE =
        keccak256(abi.encodePacked(SESSION, ACTION, CONTEXT, ERC7739, POLICY, PERMISSIONS));
    bytes32 private constant CHAIN_TYPE =
        keccak256(abi.encodePacked(CHAIN, ACTION, CONTEXT, ERC7739, POLICY, PERMISSIONS, SESSION));
    bytes32 private constant MULTI_CHAIN_TYPE =
        keccak256(abi.encodePacked(MULTI_CHAIN, ACTION, CHAIN, CONTEXT, ERC7739, POLICY, PERMISSIONS, SESSION));
    // No chain id and no contract: one signature serves every chain it names.
    bytes32 private constant DOMAIN = keccak256(
        abi.encode(keccak256("EIP712Domain(string name,string version)"), keccak256("SmartSession"), keccak256("1"))
    );

    /// What the owner signs.
    function multiChain(ChainDigest[] calldata chains) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](chains.length);
        for (uint256 i; i < hashes.length; ++i) {
            hashes[i] = keccak256(abi.encode(CHAIN_TYPE, chains[i].chainId, chains[i].sessionDigest));
        }
        bytes32 message = keccak256(abi.encode(MULTI_CHAIN_TYPE, keccak256(abi.encodePacked(hashes))));
        return keccak256(abi.encodePacked("\x19\x01", DOMAIN, message));
    }

    /// The struct hash of one session on one chain (not prefixed).
    function single(Session calldata session, address account, address module, bool unsafe, uint256 nonce)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                SESSION_TYPE,
                account,
                _permissions(session, unsafe),
                session.sessionValidator,
                keccak256(session.sessionValidatorInitData),
                session.salt,
                module,
                nonce
            )
        );
    }

    function _permissions(Session calldata session, bool unsafe) private pure returns (bytes32) {
        (bool generic, bool admin, bytes32 actions) = _actions(session.actions);
        return keccak256(
            abi.encode(
                PERMISSIONS_TYPE,
                generic,
                admin,
                unsafe,
                session.permitERC4337Paymaster,
                _policies(session.userOpPolicies),
                _erc7739(session.erc7739Policies),
                actions
            )
        );
    }

    function _policies(PolicyData[] calldata policies) private pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](policies.length);
        for (uint256 i; i < policies.length; ++i) {
            hashes[i] = keccak256(abi.encode(POLICY_TYPE, policies[i].policy, keccak256(policies[i].initData)));
        }
        return keccak256(abi.encodePacked(hashes));
    }

    /// Also whether the fallback action (any target) and the one on the session module itself are among them.
    function _actions(ActionData[] calldata actions) private pure returns (bool generic, bool admin, bytes32) {
        bytes32[] memory hashes = new bytes32[](actions.length);
        for (uint256 i; i < actions.length; ++i) {
            if (actions[i].actionTarget == address(1)) {
                generic = generic || actions[i].actionTargetSelector == 0x00000001;
                admin = admin || actions[i].actionTargetSelector == 0x00000002;
            }
            hashes[i] = keccak256(
                abi.encode(
                    ACTION_TYPE,
                    actions[i].actionTargetSelector,
                    actions[i].actionTarget,
                    _policies(actions[i].actionPolicies)
                )
            );
        }
        return (generic, admin, keccak256(abi.encodePacked(hashes)));
    }

    function _erc7739(ERC7739Data calldata data) private pure returns (bytes32) {
        bytes32[] memory contexts = new bytes32[](data.allowedERC7739Content.length);
        for (uint256 i; i < contexts.length; ++i) {
            ERC7739Context calldata context = data.allowedERC7739Content[i];
            bytes32[] memory names = new bytes32[](context.contentName.length);
            for (uint256 j; j < names.length; ++j) {
                names[j] = keccak256(bytes(context.contentName[j]));
            }
            contexts[i] =
                keccak256(abi.encode(CONTEXT_TYPE, context.appDomainSeparator, keccak256(abi.encodePacked(names))));
        }
        return keccak256(
            abi.encode(ERC7739_TYPE, keccak256(abi.encodePacked(contexts)), _policies(data.erc1271Policies))
        );
    }
}
