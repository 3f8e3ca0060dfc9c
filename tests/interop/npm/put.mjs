// Prints the root CID that ipfs-unixfs-importer gives a file or directory: node put.mjs PROFILE CHUNKER PATH.
// PROFILE as fabric names them; CHUNKER is "default" or size-N.
import { lstat, readdir, readlink } from 'node:fs/promises'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'

const [profile, chunker, top] = process.argv.slice(2)
const options = profile === 'cid-v1-plain'
  ? { cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: 262144 }), layout: balanced({ maxChildrenPerNode: 174 }), shardSplitStrategy: 'links-bytes', shardSplitThresholdBytes: 262144 }
  : { profile }
if (chunker !== 'default') options.chunker = fixedSize({ chunkSize: Number(chunker.slice('size-'.length)) })

async function * candidates (path, name) {
  const info = await lstat(path)
  if (info.isSymbolicLink()) {
    yield { path: name, link: await readlink(path) }
  } else if (info.isDirectory()) {
    yield { path: name }
    for (const entry of await readdir(path)) yield * candidates(join(path, entry), `${name}/${entry}`)
  } else {
    // One Buffer per file, or an empty one: the importer wants at least one chunk.
    yield { path: name, content: createReadStream(path) }
  }
}

const nowhere = { put: async (cid) => cid }
let last
for await (const entry of importer(candidates(top, 'root'), nowhere, options)) last = entry
console.log(last.cid.toString())
