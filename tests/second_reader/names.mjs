// Columns of names whose codes lie as bytes (schemas/SPEC.md, 6.7); "§" names its sections.
//
//   const labels = await names(file, 'label')       // proved, or null: file.decode says why
//   labels.groups                                   // [{names, codes: Uint8Array or Uint16Array, spare, offset}]
//   names.of(labels.groups[0])                      // the names of the rows
import { take, thrift } from './reader.mjs'

const TEXT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
export const SPLITS = ['train', 'valid', 'test']

/** Names in the order of the codes of splits (§3.3): the owner's own by their UTF-8 bytes. */
export const splitOrder = names => [...SPLITS, ...names.filter(name => !SPLITS.includes(name))
  .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))]

/** A required category or split, proved as §6.7 says; or null if it must be decoded. */
export async function names(file, name) {
  const { leaves, groups, rows } = file.footer, index = leaves.findIndex(({ path }) => path[0] === name)
  const { type, repetition, path = [] } = leaves[index] ?? {}, found = []
  const fault = type === 6 && repetition === 0 && path.length === 1 ? null : 'no required strings'
  if (fault) return file.decode.set(name, fault) && null
  for (const { rows, chunks: { [index]: chunk } } of groups) {
    const group = await named(file.source, chunk, rows).catch(error => error.message)
    if (typeof group === 'string') return file.decode.set(name, group) && null
    found.push(group)
  }
  const whole = groups.reduce((sum, group) => sum + group.rows, 0) === rows
  return whole ? { groups: found } : file.decode.set(name, 'row counts') && null
}
names.of = ({ names, codes }) => Array.from(codes, code => names[code])

/** One row group of such a column, or an Error. */
async function named(source, chunk, rows) {
  const { begin, end, page, dictionary, codec, values, inflated, size, inside } = chunk
  const must = (ok, message) => { if (!ok) throw new Error(message) }
  must(codec === 0 && inside && inflated === size && values === rows && rows > 0, 'compressed, or sizes')
  must(dictionary === begin && begin < page && page < end, 'no dictionary page in front')
  const first = await body(source, begin, page), { names: told } = first.header
  must(first.header.type === 2 && told?.encoding === 0 && told.values <= 65536, 'no PLAIN dictionary')
  const all = texts(first.bytes, told.values)
  must(new Set(all).size === told.values, 'a name twice, or another number of names')
  const second = await body(source, page, end), { data } = second.header
  must(second.header.type === 0 && data?.encoding === 8 && data.values === rows, 'no page of codes')
  must(data.definition === 3 && data.repetition === 3, 'levels in another encoding')
  const { run, used } = varint(second.bytes, 1), width = all.length <= 256 ? 1 : 2
  const count = Math.ceil(rows / 8) * 8
  must(second.bytes[0] === 8 * width && run === count / 4 + 1, 'not one run of packed bits')
  must(second.bytes.length === used + count * width, 'sizes')
  const bytes = second.bytes.subarray(used), Codes = width === 1 ? Uint8Array : Uint16Array
  const { buffer, byteOffset } = bytes.byteOffset % width ? new Uint8Array(bytes) : bytes
  const stored = new Codes(buffer, byteOffset, count)
  return { names: all, codes: stored.subarray(0, rows), spare: stored.subarray(rows), offset: end - count * width }
}

/** A page that fills [start, end): its header, and the bytes behind it. */
async function body(source, start, end) {
  const whole = await take(source, start, end - start), header = thrift('PageHeader', whole)
  const bytes = whole.subarray(header.used)
  if (header.size !== bytes.length || header.inflated !== bytes.length) throw new Error('a page of another size')
  return { header, bytes }
}

/** So many strings, each with its length before it, that fill these bytes. */
function texts(bytes, count) {
  const found = []
  let at = 0
  while (at + 4 <= bytes.length && found.length < count) {
    const start = at + 4
    at = start + bytes.readUInt32LE(at)
    if (at > bytes.length) break
    found.push(TEXT.decode(bytes.subarray(start, at)))
  }
  if (at !== bytes.length) throw new Error('names that do not fill their page')
  return found
}

function varint(bytes, start) {
  let run = 0, used = start
  for (let scale = 1; ; scale *= 128) {
    const byte = used < bytes.length && scale < 2 ** 35 ? bytes[used++] : NaN
    if (Number.isNaN(byte)) throw new Error('no run')
    run += (byte & 127) * scale
    if (byte < 128) return { run, used }
  }
}
