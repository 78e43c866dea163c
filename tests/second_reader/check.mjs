// node check.mjs FILE… prints one JSON line a file: what this reader found in it.
//
// `found` holds the ids of appendix A, sorted: those it was refused with, or all problems seen with and without the
// data. Of a file without problems, `features` come from memory (`view`: without a copy), again by ranges from the file
// system (`ranged`), and their last row (`last`) once more over HTTP from a server on 127.0.0.1, proved from the footer
// alone: `remote` has its values, and the requests and bytes that opening the file and reading the row cost.
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { names as named } from './names.mjs'
import { strings } from './pages.mjs'
import { http, local, memory, open } from './reader.mjs'
import { validate } from './rules.mjs'

const sha256 = parts => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')
const sorted = ids => [...new Set(ids)].sort()

/** Stored halves as numbers. */
const floats = halves => Array.from(halves, half => {
  const sign = half & 0x8000 ? -1 : 1, exponent = half >> 10 & 31, fraction = (half & 1023) / 1024
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14)
})

/** One file at a time by byte ranges; counts the requests for ranges and the bytes sent. */
const server = createServer((request, response) => {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range)
  if (!range) return response.writeHead(200, { 'content-length': server.file.length }).end()
  const part = server.file.subarray(Number(range[1]), Number(range[2]) + 1)
  server.cost = { requests: server.cost.requests + 1, bytes: server.cost.bytes + part.length }
  response.writeHead(206, { 'content-length': part.length }).end(part)
})

/** The arrays of a column's row groups, or null where it must be decoded. */
async function arrays(file, name) {
  const column = await file.column(name)
  return column && Promise.all(column.regions.map((_, number) => column.group(number)))
}

async function feature(file, ranged, buffer, name) {
  const { dtype, shape } = file.dof.columns[name], groups = await arrays(file, name)
  if (!groups) return { dtype, shape, decode: file.decode.get(name) }
  const first = groups[0]?.slice(0, 4) ?? [], width = shape.reduce((product, side) => product * side, 1)
  return {
    dtype, shape, first: [...(dtype === 'float16' ? floats(first) : first)],
    last: [...groups.at(-1)?.slice(-width) ?? []], view: groups.every(group => group.buffer === buffer),
    sha256: sha256(groups), ranged: sha256(await arrays(ranged, name)),
  }
}

async function remotely(buffer, name) {
  Object.assign(server, { file: Buffer.from(buffer), cost: { requests: 0, bytes: 0 } })
  const file = await open(await http(`http://127.0.0.1:${server.address().port}/`), { fromFooter: true })
  const column = await file.column(name), opening = server.cost
  server.cost = { requests: 0, bytes: 0 }
  const values = column && file.footer.rows ? [...await column.row(file.footer.rows - 1)] : []
  return { opening, row: server.cost, values, decode: column ? undefined : file.decode.get(name) }
}

async function look(path) {
  const buffer = Uint8Array.from(readFileSync(path)).buffer, disk = local(path)
  try {
    const [file, problems] = await validate(memory(buffer)), found = sorted(problems.map(({ id }) => id))
    if (!file) return { refused: true, found, problems }
    const { state, derived = false, dof: { columns, record, primary_column: primary } } = file
    if (found.length) return { state, derived, found, problems }
    const ranged = await open(disk), features = {}, documents = {}, labels = {}
    const names = Object.keys(columns), featured = names.filter(name => columns[name].role === 'feature')
    for (const name of featured) features[name] = await feature(file, ranged, buffer, name)
    for (const name of names.filter(name => ['target', 'split'].includes(columns[name].role))) {
      const column = columns[name].dtype.startsWith('dictionary<') ? await named(ranged, name) : null
      if (column) labels[name] = column.groups.flatMap(named.of)
    }
    for (const { name } of file.dof.documents) documents[name] = sha256([await ranged.document(name)])
    return {
      state, found: [], rows: file.footer.rows, columns: names.sort(), features,
      ids: (await strings(ranged, record.id))?.slice(0, 3),
      layout: names.some(name => columns[name].layout === 'mapped') ? 'mapped' : 'compact',
      errors: (await ranged.errors()).length, documents, names: labels,
      remote: await remotely(buffer, primary),
    }
  } finally { disk.close() }
}

await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
for (const path of process.argv.slice(2)) {
  console.log(JSON.stringify({ file: basename(path, '.parquet'), ...await look(path) }))
}
server.closeAllConnections()
server.close()
