// The footer and the page headers of a Parquet file, as much of them as schemas/SPEC.md ("§") needs.
import { take } from './source.mjs'

/** The file cannot be used; `problems` says why, [{id, message}], by the ids of appendix A. */
export class Refused extends Error {
  constructor(problems) {
    super(problems.map(({ id, message }) => `${id}: ${message}`).join('; '))
    this.problems = problems
  }
}
export const refuse = (id, message) => { throw new Refused([{ id, message }]) }
const malformed = message => refuse('footer-thrift', message)

const KiB = 1024, MiB = KiB * KiB

// ------------------------------------------------------------------------------ the Thrift compact protocol, §2.2

class Thrift {
  constructor(bytes) { Object.assign(this, { bytes, at: 0, count: 0 }) }
  byte() { return this.at < this.bytes.length ? this.bytes[this.at++] : malformed('the bytes end too soon') }
  varint() {                                           // exact for zigzag numbers below 2^53
    for (let value = 0, scale = 1, length = 0; length < 10; length++, scale *= 128) {
      const byte = this.byte()
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    malformed('a varint of more than 10 bytes')
  }
  zigzag(value = this.varint()) { return value % 2 ? -(value + 1) / 2 : value / 2 }
  binary(length = this.varint()) {
    if (length > this.bytes.length - this.at) malformed('a length beyond the end')
    return this.bytes.subarray(this.at, this.at += length)
  }
  list(depth, head = this.byte(), type = head & 15) {
    const length = head >> 4 < 15 ? head >> 4 : this.varint()
    if (length > 65536 || length > this.bytes.length - this.at) malformed('a list too long')
    return Array.from({ length }, () => type < 3 ? this.byte() === 1 : this.value(type, depth))
  }
  struct(depth = 1) {
    const fields = new Map()
    for (let id = 0, head; (head = this.byte()) !== 0;) {
      id = head >> 4 ? id + (head >> 4) : this.zigzag()
      if (fields.has(id)) malformed(`field ${id} stands twice`)
      fields.set(id, this.value(head & 15, depth))
    }
    return fields
  }
  value(type, depth) {
    if (++this.count > 1e6 || depth > 16) malformed('too many values, or nested too deep')
    switch (type) {
      case 1: case 2: return type === 1
      case 3: return this.byte() << 24 >> 24
      case 4: case 5: case 6: return this.zigzag()
      case 7: return this.binary(8)
      case 8: return this.binary()
      case 9: case 10: return this.list(depth + 1)
      case 12: return this.struct(depth + 1)
    }
    malformed(`wire type ${type}`)
  }
}

// ------------------------------------------------------------------------------------------------ the footer, §2.3
// Each of these takes a Thrift value and gives what it means: the fields needed by name, [id, meaning].

const int = value => Number.isSafeInteger(value) ? value : malformed('no integer')
const binary = value => value instanceof Uint8Array ? value : malformed('no string')
export const text = value => binary(value).toString()
const list = of => values => Array.isArray(values) ? values.map(of) : malformed('no list')
const struct = (required, optional = {}) => fields => {
  if (!(fields instanceof Map)) malformed('no struct')
  for (const name in required) if (!fields.has(required[name][0])) malformed(`no ${name}`)
  const present = Object.entries({ ...required, ...optional }).filter(([, [id]]) => fields.has(id))
  return Object.fromEntries(present.map(([name, [id, meaning]]) => [name, meaning(fields.get(id))]))
}
const SchemaElement = struct({ name: [4, text] },
  { type: [1, int], width: [2, int], repetition: [3, int], children: [5, int] })
const PageStats = struct({ type: [1, int], encoding: [2, int], count: [3, int] })
const ChunkMeta = struct({ type: [1, int], path: [3, list(text)], codec: [4, int], values: [5, int], inflated: [6, int],
  size: [7, int], page: [9, int] }, { dictionary: [11, int], stats: [13, list(PageStats)] })
const Chunk = struct({ meta: [3, ChunkMeta] }, { elsewhere: [1, text] })
const RowGroup = struct({ columns: [1, list(Chunk)], rows: [3, int] })
const KeyValue = struct({ key: [1, text] }, { value: [2, binary] })
const FileMetaData = struct({ schema: [2, list(SchemaElement)], rows: [3, int], groups: [4, list(RowGroup)] },
  { pairs: [5, list(KeyValue)], createdBy: [6, text] })
const DataPage = struct({ values: [1, int], encoding: [2, int] }, { definition: [3, int], repetition: [4, int] })
const DataPage2 = struct({ values: [1, int] })
const PageHeader = struct({ type: [1, int], inflated: [2, int], size: [3, int] },
  { data: [5, DataPage], data2: [8, DataPage2] })

/** The page header at the start of these bytes, with its own length. */
export function pageHeader(bytes) {
  const thrift = new Thrift(bytes)
  return { ...PageHeader(thrift.struct()), length: thrift.at }
}

function tree(elements) {
  let at = 0
  const bad = message => refuse('footer-schema', message)
  const node = path => {
    const { children = 0, ...element } = elements[at++] ?? bad('it ends too soon')
    if (children > elements.length || path.length > 100) bad('too large')
    const here = at > 1 ? [...path, element.name] : path
    return { ...element, path: here, children: Array.from({ length: children }, () => node(here)) }
  }
  const root = node([])
  return at === elements.length ? root : bad('it has elements left')
}
const leaves = node => node.children.length ? node.children.flatMap(leaves) : [node]

/** Reads the footer, within the bounds of §2.1, with two reads, or three if it is longer than 64 KiB. */
export async function readFooter(source) {
  if (source.size < 12) refuse('file-magic', 'shorter than 12 bytes')
  const near = Math.min(source.size, 64 * KiB)
  const [first, last] = await Promise.all([take(source, 0, 4), take(source, source.size - near, near)])
  const magic = text(last.subarray(-4))
  if (magic !== 'PAR1') refuse(magic === 'PARE' ? 'file-encrypted' : 'file-magic', `it ends in ${magic}`)
  const length = last.readUInt32LE(near - 8) + 8, start = source.size - length
  if (length > 48 * MiB || start < 4) refuse('footer-length', `${length} bytes`)
  const tail = length <= near ? last.subarray(-length) : await take(source, start, length)
  const thrift = new Thrift(tail.subarray(0, -8)), footer = FileMetaData(thrift.struct())
  if (thrift.at !== length - 8) refuse('footer-slack', `${length - 8 - thrift.at} bytes`)
  const keys = new Map()
  for (const { key, value = Buffer.alloc(0) } of footer.pairs ?? []) {
    if (keys.has(key)) refuse('footer-keys', key)
    keys.set(key, value)
  }
  const root = tree(footer.schema), fields = root.children.flatMap(leaves)
  const wanted = JSON.stringify(fields.map(({ path }) => path))
  const groups = footer.groups.map(({ rows, columns }) => {
    const paths = columns.map(({ meta }) => meta.path)
    if (JSON.stringify(paths) !== wanted) refuse('chunk-columns', 'not those of the schema')
    return { rows, chunks: columns.map(({ meta, elsewhere }) => {
      const { dictionary, page, size } = meta, begin = dictionary > 0 && dictionary < page ? dictionary : page
      const end = begin + size
      return { ...meta, elsewhere, begin, end, inside: begin >= 4 && end >= begin && end <= start }
    }) }
  })
  const chunks = groups.flatMap(group => group.chunks), begins = text(first) === 'PAR1'
  return { ...footer, begins, start, tail, keys, root, fields, groups, chunks }
}

/** The pages of a chunk: their headers, with the offset of what follows. */
export async function* pages(source, { begin, end }) {
  for (let at = begin; at < end;) {
    const lost = () => refuse('page-bounds', `no page at ${at}`)
    const page = await take(source, at, Math.min(64 * KiB, end - at)).then(pageHeader).catch(lost)
    const offset = at + page.length
    if (page.size < 0 || offset + page.size > end) lost()
    yield { ...page, offset }
    at = offset + page.size
  }
}

/** `count` levels of one bit in Parquet's hybrid of runs and packed bits (§6.2). */
export function levels(bytes, count) {
  const bits = [], thrift = new Thrift(bytes)
  while (bits.length < count) {
    const head = thrift.varint(), run = Math.min(head / 2, count - bits.length)
    const packed = head % 2 ? thrift.binary((head - 1) / 2) : null
    if (packed) for (const byte of packed) for (let at = 0; at < 8; at++) bits.push(byte >> at & 1)
    else for (let at = 0, bit = thrift.byte(); at < run; at++) bits.push(bit)
  }
  return bits.slice(0, count)
}
