// Where everything stands on the test chain, and who holds which key.
export const ENTRY_POINT = "0x0000000071727De22E5E9d8BAf0edAc6f37da032" // v0.7, canonical
export const DETERMINISTIC_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C" // anvil's genesis has it
export const SMART_SESSIONS = "0x00000000008bDABA73cD9815d79069c247Eb4bDA"
export const ENGINE = "0x0000000071727de22e5e9d8baf0edac6f37da034" // where modulekit puts its release
export const REGISTRY = "0x000000000069E2a187AEFFb852bF3cCdC95151B2"
export const OWNABLE_VALIDATOR = "0x000000000013fdB5234E4E3162a810F54d9f7E98" // of @rhinestone/module-sdk
export const OWNABLE_VALIDATOR_BETA = "0x0000000000e9e6e96bcaa3c113187cdb7e38aed9" // of @startale-scs/aa-sdk
export const SIMPLE_GAS_POLICY = "0x0000000000d14A6F771494592218d8F9c2ddEbB6" // module-sdk does not export these three
export const ARG_POLICY = "0x0000000000167edE64D8751daACDdC0312565a73"
export const CONTRACT_WHITELIST_POLICY = "0x0000000000d79359D85e62796104D7AE863fFAcb"
export const COUNTER = "0x00000000000000000000000000000000c0c0c0c0"
export const TOKEN = "0x00000000000000000000000000000000dadadada"
export const PAYMASTER = "0x00000000000000000000000000000000fafafafa"

// anvil's published development keys, worth nothing anywhere. Its account 0 funds and deploys.
export const KEYS = {
    executor: "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    utility: "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    owner: "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    session: "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    enable: "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    stranger: "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"
}
