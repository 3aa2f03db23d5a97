// Writes sample/emissary.json: what @rhinestone/sdk, at the version that tests/e2e pins, makes of sessions.
//
//     node tests/vectors/make_emissary.mjs > tests/vectors/sample/emissary.json
//
// Nothing is random and nobody is asked: the one question that the SDK puts to a chain, the nonce of a grant, is
// answered here. Vectors of kind "malformed" are the SDK's own bytes, bent.

import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const require = createRequire(new URL('../e2e/package.json', import.meta.url))
const sdk = require('@rhinestone/sdk/smart-sessions')
const sdkFolder = dirname(require.resolve('@rhinestone/sdk'))
const abi = require(join(sdkFolder, 'modules/abi/smart-session-emissary.js')).default
const passkeys = require('@rhinestone/sdk/signing/passkeys')
const solady = require(require.resolve('solady', { paths: [sdkFolder] }))
const viem = require('viem')
const { privateKeyToAccount } = require('viem/accounts')
const { base, optimism } = require('viem/chains')

const { concat, encodeFunctionData, hashTypedData, keccak256, maxUint256, numberToHex, size, slice, toHex, zeroAddress, zeroHash } = viem

const signer = (name) => privateKeyToAccount(keccak256(toHex(`emissary vectors: ${name}`)))
const [owner, key, secondKey] = ['owner', 'session key', 'second session key'].map(signer)
const account = '0x00000000000000000000000000000000000000ac'
const token = '0x0b2c639c533813f4aa9d7837caf62653d097ff85'
const transfer = '0xa9059cbb'

const passkeySignature = passkeys.packSignature(
  [keccak256(toHex('credential'))],
  false,
  [
    {
      authenticatorData: '0x49960de5880e8c687434170f6476605b8fe4aeb9a28632c7995cf3ba831d97630500000000',
      clientDataJSON: '{"type":"webauthn.get","challenge":"9jEFijuhEWrM4SOW-tChJbUEHEP44VcjcJ-Bqo1fTM8","origin":"http://localhost:8080"}',
      challengeIndex: 23n,
      typeIndex: 1n,
      r: BigInt(keccak256(toHex('r'))),
      s: BigInt(keccak256(toHex('s'))),
    },
  ],
)
const digestSigned = keccak256(toHex('a user operation'))
const ecdsa = await key.sign({ hash: digestSigned })
const both = concat([ecdsa, await secondKey.sign({ hash: digestSigned })])

const scoped = (...policies) => [{ target: token, selector: transfer, policies }]
const one = { type: 'ecdsa', accounts: [key] }
const week = { type: 'time-frame', validAfter: 1_700_000_000_000, validUntil: 1_700_604_800_000 }
const spending = { type: 'spending-limits', limits: [{ token, amount: 1_000_000n }] }
const rule = { condition: 'lessThanOrEqual', calldataOffset: 32n, referenceValue: 500n }

// name, session, the session key's signature, whether it is of the development deployment
const SESSIONS = [
  ['everything by the fallback', { owners: one }, ecdsa],
  ['a scoped transfer', { owners: one, actions: scoped(spending, week) }, ecdsa],
  ['every policy', {
    owners: one,
    actions: scoped(
      spending,
      week,
      { type: 'usage-limit', limit: 7n },
      { type: 'value-limit', limit: 10n ** 18n },
      { type: 'universal-action', valueLimitPerUse: 1n, rules: [rule, { ...rule, usageLimit: 900n }] },
      { type: 'arg-policy', expression: { type: 'not', child: { type: 'rule', rule } } },
    ),
  }, ecdsa],
  ['a fallback of its own', { owners: one, actions: [{ policies: [{ type: 'usage-limit', limit: 3n }] }] }, ecdsa],
  ['restricted to its actions', { owners: one, restrictToActions: true, actions: scoped(spending) }, ecdsa],
  ['two keys', { owners: { type: 'ecdsa', accounts: [key, secondKey], threshold: 2 }, actions: scoped(spending) }, both],
  ['a passkey', {
    owners: { type: 'passkey', accounts: [{ publicKey: concat(['0x04', keccak256('0x01'), keccak256('0x02')]), id: 'credential' }] },
    actions: scoped(spending),
  }, passkeySignature],
  ['claim policies', { owners: one, claimPolicies: [{ recipients: [{ chainId: base.id, recipient: account }], tokensIn: [{ chainId: base.id, token }] }] }, ecdsa],
  ['the development deployment', { owners: one, actions: scoped(spending) }, ecdsa, true],
]

let nonce = 0n
globalThis.fetch = async (_url, request) => {
  const { id } = JSON.parse(request.body)
  return new Response(JSON.stringify({ jsonrpc: '2.0', id, result: numberToHex(nonce, { size: 32 }) }), {
    headers: { 'content-type': 'application/json' },
  })
}
const provider = { type: 'custom', urls: { [base.id]: 'http://127.0.0.1:1', [optimism.id]: 'http://127.0.0.1:1' } }

async function grantOf(session, dev, index) {
  nonce = BigInt(index) * 3n
  const sessions = [base, optimism].slice(0, index % 2 ? 2 : 1).map((chain) => ({ ...session, chain }))
  const details = await sdk.getSessionDetails(account, sessions, provider, dev)
  const userSignature = await owner.signTypedData(details.data)
  const { hashesAndChainIds } = details
  const digest = {
    account,
    emissary: emissaryOf(dev),
    chainId: Number(hashesAndChainIds[0].chainId),
    nonce: numberToHex(nonce),
    multichainDigest: hashTypedData(details.data),
  }
  return { digest, enableData: { userSignature, hashesAndChainIds, sessionToEnableIndex: 0 } }
}

const emissaryOf = (dev) => (dev ? sdk.SMART_SESSION_EMISSARY_ADDRESS_DEV : sdk.SMART_SESSION_EMISSARY_ADDRESS)

function expectedEnable(session, dev, { userSignature, hashesAndChainIds, sessionToEnableIndex }) {
  return {
    config: { scope: 0, resetPeriod: 6, allocator: zeroAddress, permissionId: sdk.getPermissionId(session) },
    chainDigestIndex: sessionToEnableIndex,
    hashesAndChainIds: hashesAndChainIds.map((each) => ({ ...each, chainId: Number(each.chainId) })),
    session: sdk.getSessionData(session, dev),
    expires: numberToHex(maxUint256),
    userSig: userSignature,
    allocatorSig: zeroHash,
  }
}

const ENABLE_TYPES = (() => {
  const { inputs } = abi.find((item) => item.name === 'setConfig')
  return [inputs[2], inputs[1], { type: 'bytes' }]
})()
const inflate = (packed) => solady.LibZip.flzDecompress(slice(packed, 1))
const repack = (values) => concat(['0x01', solady.LibZip.flzCompress(viem.encodeAbiParameters(ENABLE_TYPES, values))])

const vectors = []
function put(kind, note, vector) {
  vectors.push({ id: `emissary-${String(vectors.length).padStart(3, '0')}`, kind, note, ...vector })
}

for (const [index, [note, partial, signature, dev = false]] of SESSIONS.entries()) {
  const session = { ...partial, chain: base }
  const permissionId = sdk.getPermissionId(session)
  const module = emissaryOf(dev)
  const signers = { type: 'experimental_session', session, verifyExecutions: true, useDevContracts: dev }
  const ok = { status: 'ok', permissionId, signature }

  put('use', note, { module, packed: sdk.packSignature(signers, signature), expected: { ...ok, mode: 0 } })
  for (const claimPolicyData of ['0x', concat([account, keccak256('0x')])]) {
    const packed = sdk.packSignature({ ...signers, verifyExecutions: false, claimPolicyData }, signature)
    put('notarized', note, { module, packed, expected: { ...ok, mode: 0, claimPolicyData } })
  }
  const { digest, enableData } = await grantOf(partial, dev, index)
  const enable = expectedEnable(session, dev, enableData)
  const packed = sdk.packSignature({ ...signers, enableData }, signature)
  put('enable', note, { module, packed, digest, expected: { ...ok, mode: 1, enable } })
  const mock = sdk.buildMockSignature(session, dev)
  put('prefixed', `${note}: the SDK's stub for estimates`, {
    module,
    packed: mock,
    expected: { status: 'ok', permissionId, mode: 1, signature: `0x${'00'.repeat(65)}` },
  })

  const { userSignature, hashesAndChainIds, sessionToEnableIndex } = enableData
  const call = await sdk.getEnableSessionCall(account, session, userSignature, hashesAndChainIds, sessionToEnableIndex, dev)
  put('setConfig', note, { module: call.to, account, data: call.data, expected: { status: 'ok', permissionId, enable } })
  const disable = [
    account,
    enable.config,
    { allocatorSig: zeroHash, userSig: userSignature, expires: maxUint256, session: { chainDigestIndex: 0, hashesAndChainIds } },
  ]
  put('removeConfig', note, {
    module,
    account,
    data: encodeFunctionData({ abi, functionName: 'removeConfig', args: disable }),
    expected: { status: 'ok', permissionId },
  })
}

const reject = { status: 'reject' }
const { packed: used, module } = vectors.find((each) => each.kind === 'use')
const { packed: enabling } = vectors.find((each) => each.kind === 'enable')
const bend = (note, packed) => put('malformed', note, { module, packed, expected: reject })
bend('empty', '0x')
bend('USE without a whole permission id', slice(used, 0, 32))
bend('UNSAFE_ENABLE, which the emissary does not have', concat(['0x02', slice(enabling, 1)]))
bend('no such mode', concat(['0x03', slice(enabling, 1)]))
bend('ENABLE without a stream', '0x01')
bend('a stream cut short', slice(enabling, 0, size(enabling) - 40))
bend("the Smart Sessions module's payload", concat(['0x01', solady.LibZip.flzCompress(viem.encodeAbiParameters([{ type: 'bytes32' }], [zeroHash]))]))
const [data, config, inner] = viem.decodeAbiParameters(ENABLE_TYPES, inflate(enabling))
bend('a config for another permission', repack([data, { ...config, permissionId: keccak256('0x') }, inner]))
bend('a session with another salt than the config', repack([
  { ...data, session: { ...data.session, sessionToEnable: { ...data.session.sessionToEnable, salt: keccak256('0x') } } },
  config,
  inner,
]))
bend('no such scope', repack([data, { ...config, scope: 2 }, inner]))
bend('no such reset period', repack([data, { ...config, resetPeriod: 8 }, inner]))
bend(
  'an offset, and no signature of any validator before it',
  concat([slice(used, 0, 33), numberToHex(64 + 32, { size: 32 }), keccak256('0x'), account]),
)

const packageVersion = require(join(sdkFolder, '../../package.json')).version
const header = { format: 'emissary/1', source: `@rhinestone/sdk ${packageVersion}` }
const lines = vectors.map((vector) => `  ${JSON.stringify(vector)}`)
process.stdout.write(`${JSON.stringify(header).slice(0, -1)},"vectors":[\n${lines.join(',\n')}\n]}\n`)
