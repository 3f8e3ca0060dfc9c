// A Helia node in a private swarm, driven by lines on stdin: node helia_peer.mjs KEYFILE [ADDRESS]
// ADDRESS is what it listens on (default /ip4/127.0.0.1/tcp/0). It runs in the folder that holds node_modules.
//   addrs            its addresses with its peer id, between blanks
//   connect ADDR     dials, gives the peer's id
//   peers            the ids of the connected peers, between blanks
//   add PATH         a file or a directory, pinned; gives the CID
//   get CID OUT      writes a file or a directory to OUT, fetching what is missing
//   pin CID          fetches the whole DAG and keeps it
//   quit
// Every command is answered by one line, "ok", "ok VALUE" or "error MESSAGE"; the first line is "ok ADDRESSES", once the
// node listens. A time limit of 120 s holds for each command that uses the network. Blocks are kept in memory.
import { mkdir, readFile, stat } from 'node:fs/promises'
import { createReadStream, createWriteStream } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { unixfs, globSource } from '@helia/unixfs'
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { identify } from '@libp2p/identify'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createHelia } from 'helia'
import { CID } from 'multiformats/cid'
import xsalsa20 from 'xsalsa20'

const [keyFile, listen = '/ip4/127.0.0.1/tcp/0'] = process.argv.slice(2)
const limit = () => AbortSignal.timeout(120_000)

// xsalsa20 1.2.0: once one write above 640 KiB has made its memory grow, every change between streams makes it grow
// again, until it ends the process at 64 MiB. So it grows here, where there is no stream yet.
xsalsa20(new Uint8Array(24), new Uint8Array(32)).update(new Uint8Array(48 << 20))

const helia = await createHelia({
  http: { delegatedRouters: [], recursiveGateways: [] },
  libp2p: {
    addresses: { listen: [listen] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionProtector: preSharedKey({ psk: await readFile(keyFile) }),
    peerDiscovery: [],
    services: { identify: identify() }
  }
}).start()
const fs = unixfs(helia)

async function add (path) {
  if ((await stat(path)).isFile()) {
    return fs.addByteStream(createReadStream(path, { highWaterMark: 1 << 20 }))
  }
  let root
  for await (const entry of fs.addAll(globSource(path, '**/*', { hidden: true }), { wrapWithDirectory: true })) {
    root = entry.cid
  }
  return root
}

async function pin (cid) {
  for await (const _ of helia.pins.add(cid, { signal: limit() })) { /* one CID per block */ }
}

// Gives one chunk after the other to the file, and waits while the file has enough.
async function writeFile (cid, out) {
  const file = createWriteStream(out)
  for await (const chunk of fs.cat(cid, { signal: limit() })) {
    if (!file.write(chunk)) await once(file, 'drain')
  }
  file.end()
  await once(file, 'finish')
}

async function get (cid, out) {
  const about = await fs.stat(cid, { signal: limit() })
  if (about.type !== 'directory') return writeFile(cid, out)
  await mkdir(out)
  for await (const entry of fs.ls(cid, { signal: limit() })) await get(entry.cid, join(out, entry.name))
}

const commands = {
  addrs: () => helia.libp2p.getMultiaddrs().join(' '),
  connect: async address => (await helia.libp2p.dial(multiaddr(address), { signal: limit() })).remotePeer,
  peers: () => helia.libp2p.getPeers().join(' '),
  add: async path => {
    const cid = await add(path)
    await pin(cid)
    return cid
  },
  get: (cid, out) => get(CID.parse(cid), out),
  pin: cid => pin(CID.parse(cid))
}

console.log(`ok ${commands.addrs()}`)
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...rest] = line.trim().split(' ')
  if (name === 'quit') break
  try {
    if (!Object.hasOwn(commands, name)) throw new Error(`no such command: ${name}`)
    const value = await commands[name](...rest)
    console.log(value === undefined ? 'ok' : `ok ${value}`)
  } catch (error) {
    console.log(`error ${String(error.message ?? error).replaceAll('\n', ' ')}`)
  }
}
await helia.stop()
process.exit(0)
