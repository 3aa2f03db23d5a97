// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

// The Nexus account itself is the real one. These two translate what the SDKs ask of newer factories and
// bootstraps into the calls of the release at hand.

struct ModuleInit {
    address module;
    bytes data;
}

struct HookInit {
    uint256 hookType;
    address module;
    bytes data;
}

interface INexusBootstrap {
    function initNexus(
        ModuleInit[] calldata validators,
        ModuleInit[] calldata executors,
        ModuleInit calldata hook,
        ModuleInit[] calldata fallbacks,
        address registry,
        address[] calldata attesters,
        uint8 threshold
    ) external;

    function initNexusWithSingleValidator(
        address validator,
        bytes calldata data,
        address registry,
        address[] calldata attesters,
        uint8 threshold
    ) external;
}

interface INexusFactory {
    function createAccount(bytes calldata initData, bytes32 salt) external payable returns (address payable);
    function computeAccountAddress(bytes calldata initData, bytes32 salt) external view returns (address payable);
}

/// The bootstrap call of the Startale SDK, handed to the Nexus bootstrap. Runs by delegatecall
/// inside the account that is being made.
contract StartaleBootstrap {
    address private immutable _nexusBootstrap;

    constructor(address nexusBootstrap) {
        _nexusBootstrap = nexusBootstrap;
    }

    function initWithDefaultValidatorAndOtherModules(
        bytes calldata,
        ModuleInit[] calldata validators,
        ModuleInit[] calldata executors,
        ModuleInit calldata hook,
        ModuleInit[] calldata fallbacks,
        HookInit[] calldata
    ) external payable {
        (bool ok, bytes memory answer) = _nexusBootstrap.delegatecall(
            abi.encodeCall(
                INexusBootstrap.initNexus,
                (validators, executors, hook, fallbacks, address(0), new address[](0), 0)
            )
        );
        if (ok) return;
        assembly {
            revert(add(answer, 32), mload(answer))
        }
    }
}

/// The factory call of permissionless's toNexusSmartAccount (owner, index, attesters, threshold) in front of
/// the Nexus factory, with the ownable validator as the account's one validator.
contract OwnerFactory {
    address private immutable _factory;
    address private immutable _bootstrap;
    address private immutable _validator;

    constructor(address factory, address bootstrap, address validator) {
        _factory = factory;
        _bootstrap = bootstrap;
        _validator = validator;
    }

    function createAccount(address owner, uint256 index, address[] calldata, uint8)
        external
        payable
        returns (address)
    {
        return INexusFactory(_factory).createAccount{value: msg.value}(_initData(owner), bytes32(index));
    }

    function computeAccountAddress(address owner, uint256 index, address[] calldata, uint8)
        external
        view
        returns (address)
    {
        return INexusFactory(_factory).computeAccountAddress(_initData(owner), bytes32(index));
    }

    function _initData(address owner) private view returns (bytes memory) {
        address[] memory owners = new address[](1);
        owners[0] = owner;
        bytes memory config = abi.encode(uint256(1), owners);
        return abi.encode(
            _bootstrap,
            abi.encodeCall(
                INexusBootstrap.initNexusWithSingleValidator, (_validator, config, address(0), new address[](0), 0)
            )
        );
    }
}

/// An ERC-7484 registry that attests everything.
contract AllowAllRegistry {
    function findTrustedAttesters(address) external pure returns (address[] memory) {
        return new address[](0);
    }

    fallback() external {}
}
