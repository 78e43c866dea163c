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
import { Refused, floats, http, local, memory, open } from './reader.mjs'
import { judge, judgeDeep } from './rules.mjs'

const isBigEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 0
if (isBigEndian) throw new Error('values are used where they lie: for little-endian machines only')

const sha256 = parts => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')
const sorted = ids => [...new Set(ids)].sort()

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
  if (!groups) return { dtype, shape, decode: file.proofs.get(name) }
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
  return { opening, row: server.cost, values, decode: column ? undefined : file.proofs.get(name) }
}

async function look(path) {
  const buffer = Uint8Array.from(readFileSync(path)).buffer, disk = local(path)
  try {
    const file = await open(memory(buffer))
    await judge(file)
    await judgeDeep(file)
    const { state, derived, problems, dof: { columns, record, primary_column: primary } } = file
    if (problems.length) return { state, derived, found: sorted(problems.map(({ id }) => id)), problems }
    const ranged = await open(disk), features = {}, documents = {}
    const names = Object.keys(columns), featured = names.filter(name => columns[name].role === 'feature')
    for (const name of featured) features[name] = await feature(file, ranged, buffer, name)
    for (const { name } of file.dof.documents) documents[name] = sha256([await ranged.document(name)])
    return {
      state, found: [], rows: file.footer.rows, columns: names.sort(), features,
      ids: (await ranged.strings(record.id))?.slice(0, 3),
      layout: names.some(name => columns[name].layout === 'mapped') ? 'mapped' : 'compact',
      errors: (await ranged.errors()).length, documents, remote: await remotely(buffer, primary),
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return { refused: true, found: sorted(error.problems.map(({ id }) => id)), problems: error.problems }
  } finally { disk.close() }
}

await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
for (const path of process.argv.slice(2)) {
  console.log(JSON.stringify({ file: basename(path, '.parquet'), ...await look(path) }))
}
server.closeAllConnections()
server.close()
