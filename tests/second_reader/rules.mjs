// What a validator checks beyond a reader's duties, as far as it can be seen without decoding compressed pages and
// without the Arrow schema. Adds to file.problems; "§" names sections of schemas/SPEC.md.
import { readFileSync } from 'node:fs'
import { conform, strictJson } from './json.mjs'
import { names, splitOrder } from './names.mjs'
import { framed, pages, preamble, sayFull, strings } from './pages.mjs'
import { Refused, open, readFooter, sha256, stored, take } from './reader.mjs'

const SCHEMA = JSON.parse(readFileSync(new URL('../../schemas/dof.schema.json', import.meta.url)))
const RECORD = {
  id: /^string$/, bag: /^string$/, start: /^float64$/, end: /^float64$/, x: /^int32$/, y: /^int32$/,
  level: /^int16$/, mpp: /^float64$/, view: /^int16$/, frame: /^int32$/, time: /^float64$/, group: /^string$/,
  split: /^(string|dictionary<values=string.*)$/,
}
const MAY_LACK = ['group', 'split', 'start', 'end', 'x', 'y', 'level', 'mpp']
const SURVIVAL = /^struct<time: (u?int\d+|float|double|halffloat), event: bool>$/
const sum = numbers => numbers.reduce((total, number) => total + number, 0)
const product = numbers => numbers.reduce((total, number) => total * number, 1)
const has = (object, name) => name !== undefined && Object.hasOwn(object, name)
const once = values => new Set(values).size === values.length

/** Opens a file as its reader does, and finds its problems: [the file, or undefined if it is refused; problems]. */
export async function validate(source) {
  try {
    const footer = await readFooter(source), problems = metadata(footer.keys.get('dof'))
    if (problems.length) return [undefined, problems]
    const file = await open(source)
    await judge(file)
    return [file, file.problems]
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return [undefined, [{ id: error.id, message: error.message }]]
  }
}

/** §4: what the schema and strict JSON refuse, of this major version (§9); what is absent is left to the reader. */
function metadata(bytes) {
  if (!bytes) return []
  let dof
  try { dof = strictJson(bytes) } catch (error) { return [{ id: 'metadata-json', message: error.message }] }
  const major = /^([0-9]+)\.[0-9]+$/.exec(dof?.version)?.[1]
  return major !== undefined && Number(major) !== 1 ? [] : [...conform(dof, SCHEMA)]
}

async function judge(file) {
  file.claim = (ok, id, message = id) => { if (!ok) file.tell(id, message) }
  if (file.derived) return
  await copies(file)
  tables(file)
  fields(file)
  attachments(file)
  await layouts(file)
  await file.check()
  uuid(file)
  await deep(file)
}

/** §2, §2.4: the magic at the start, and the copy of the metadata in the Arrow schema */
async function copies(file) {
  const { keys } = file.footer, arrow = keys.get('ARROW:schema')
  file.claim(String(await take(file.source, 0, 4)) === 'PAR1', 'file-magic', 'it does not begin with PAR1')
  file.claim(arrow, 'schema-arrow')
  const message = Buffer.from(String(arrow ?? ''), 'base64'), copy = [...framed(keys.get('dof')), Buffer.alloc(1)]
  const whole = message.length >= 8 && message.readInt32LE() === -1 && message.readUInt32LE(4) === message.length - 8
  file.claim(!arrow || whole, 'footer-schema', 'no message of Arrow IPC')
  file.claim(!whole || message.includes(Buffer.concat(copy)), 'schema-copy')
}

/** §2.3, §6.1, §6.3: row counts and bounds */
function tables(file) {
  const { groups, rows, chunks, leaves } = file.footer
  const flat = leaves.map(({ path }) => path.length === 1)
  const agree = groups.every(({ rows, chunks }) => rows > 0 &&
    chunks.every(({ values }, at) => flat[at] ? values === rows : values >= 0))
  file.counted = agree && sum(groups.map(group => group.rows)) === rows
  file.claim(file.counted, 'rows-count')
  file.claim(groups.length <= 1024, 'groups-count')
  file.claim(groups.every(group => group.rows <= 2 ** 20), 'groups-rows')
  file.claim(groups.every(({ more }) => more.every(claim => claim === undefined)), 'group-claims')
  file.claim(chunks.every(({ inside }) => inside), 'chunk-bounds')
  const sorted = chunks.filter(({ inside }) => inside).sort((a, b) => a.begin - b.begin)
  file.claim(sorted.every(({ begin }, at) => at === 0 || sorted[at - 1].end <= begin), 'chunk-overlap')
}

/** §4.3 */
function fields(file) {
  const { dof, dof: { columns, record, targets = {}, cores = {}, claimed_cores: claimed = {} }, footer } = file
  const tops = [...new Set(footer.leaves.map(({ line }) => line[0]))], names = tops.map(({ name }) => name)
  file.claim(JSON.stringify(Object.keys(columns)) === JSON.stringify(names), 'columns-listed')
  file.sound = new Set()
  for (const node of tops.filter(({ name }) => has(columns, name))) {
    const { role, dtype, shape = [] } = columns[node.name], before = file.problems.length
    const index = footer.leaves.findIndex(({ path }) => path[0] === node.name), leaf = footer.leaves[index]
    const depth = leaf.path.length, repeated = depth === 3 && leaf.line[1].repetition === 2
    const isList = repeated && !dtype.includes('list<')
    const required = node.repetition === 0 && (depth === 1 || leaf.repetition === 0 && leaf.path[2] === 'element')
    const width = product(shape), known = isList && file.counted
    const full = !known || footer.groups.every(({ rows, chunks }) => chunks[index].values === rows * width)
    file.claim([undefined, leaf.type].includes(stored(dtype)[1]), 'column-dtype', node.name)
    file.claim(dtype !== 'string' || leaf.type === 6, 'column-dtype', node.name)
    file.claim(isList === shape.length > 0 && shape.length <= 32 && full, 'column-shape', node.name)
    const isVector = isList && required && ['float32', 'float16'].includes(dtype)
    file.claim(role !== 'feature' || isVector, 'vector-type', node.name)
    if (before === file.problems.length) file.sound.add(node.name)
    if (!has(RECORD, role)) continue
    const nullable = MAY_LACK.includes(role)
    file.claim(RECORD[role].test(dtype) && depth === 1 && (required || nullable), 'record-type', node.name)
  }
  file.claim(columns[dof.primary_column]?.role === 'feature', 'primary-column')
  for (const [role, name] of Object.entries(record).filter(([, name]) => name !== null)) {
    file.claim(has(columns, name), 'record-column', name)
    file.claim(!has(columns, name) || columns[name].role === role, 'column-role', name)
  }
  for (const [name, { role, core }] of Object.entries(columns)) {
    file.claim(core === undefined || core === null || has(cores, core) || has(claimed, core), 'core-unknown', name)
    file.claim(!has(RECORD, role) || record[role] === name, 'column-role', name)
    file.claim(role !== 'target' || has(targets, name), 'column-role', name)
  }
  file.claim(!Object.keys(claimed).some(name => has(cores, name)), 'core-claimed')
  for (const [name, { kind, classes = [] }] of Object.entries(targets)) {
    const { role, dtype } = has(columns, name) ? columns[name] : {}
    const type = { category: /^(u?int\d+|string|dictionary<values=string.*)$/, multilabel: /^list<\w+: u?int\d+/, regression: /^(u?int|float)\d+$/, survival: SURVIVAL }[kind]
    file.claim(has(columns, name) && names.includes(name), 'target-column', name)
    file.claim(!role || role === 'target', 'column-role', name)
    file.claim(!dtype || type.test(dtype), 'target-type', name)
    file.claim(['regression', 'survival'].includes(kind) || classes.length && once(classes), 'target-classes', name)
  }
  file.claim(!Object.keys(dof.splits ?? {}).length || has(columns, record.split), 'split-column')
}

/** §5 */
function attachments(file) {
  const { dof: { errors, documents = [] }, footer: { chunks, start } } = file, names = documents.map(({ name }) => name)
  let at = chunks.reduce((last, { end }) => Math.max(last, end), 4)
  const tiled = [errors ?? [], documents].flat().every(({ offset, length }) => offset === at && (at += length) <= start)
  const known = file.state === 'sealed' && chunks.every(({ inside }) => inside)
  file.claim(!known || tiled && at === start, 'attachment-bounds')
  const plain = name => !['', '.', '..'].includes(name) && !/[/\\\0]/.test(name)
  file.claim(once(names) && names.every(plain), 'document-name')
}

/** §4.2; a manifest's derives from its parts (§8) */
function uuid(file) {
  if (!file.dof.uuid || file.dof.parts?.length || file.problems.some(({ id }) => id === 'digests-form')) return
  const digests = Buffer.from(String(file.footer.keys.get('dof.digests')), 'base64')
  const cores = Object.values(file.dof.cores ?? {}).map(core => core.sha256).sort()
  const bytes = sha256('dof-uuid-1\n', digests.subarray(0, -32), ...cores).subarray(0, 16)
  bytes[6] = bytes[6] & 0x0f | 0x80
  bytes[8] = bytes[8] & 0x3f | 0x80
  file.claim(bytes.toString('hex') === file.dof.uuid.replaceAll('-', ''), 'metadata-uuid')
}

/** §6.1, §6.3, §6.5, §6.7: each claim of a column that is what the metadata say */
async function layouts(file) {
  const { columns } = file.dof, { groups } = file.footer
  const claimed = [...file.sound].filter(name => columns[name].layout === 'mapped'), mapped = []
  const isNames = name => columns[name].dtype.startsWith('dictionary<')
  file.named = new Map()
  for (const name of claimed) {
    const column = isNames(name) ? await names(file, name) : await file.column(name)
    file.claim(column || file.decode.get(name) === 'row counts', 'layout-claim', `${name}: ${file.decode.get(name)}`)
    if (column && isNames(name)) file.named.set(name, column.groups)
    else if (column) mapped.push(column)
  }
  const vectors = mapped.filter(({ isVector }) => isVector)
  const least = groups.length > 1 ? leastAlignment(vectors.map(({ width }) => width)) : 64
  const places = [...mapped.map(({ regions, isVector }) => [regions, isVector ? least : 64]),
    ...[...file.named.values()].map(groups => [groups, 64])]
  const aligned = places.every(([regions, unit]) => regions.every(({ offset }) => offset % unit === 0))
  file.claim(aligned, 'layout-alignment')
  const lengths = vectors.flatMap(({ regions, width }) => regions.slice(0, -1).map(({ rows }) => rows * width))
  file.claim(least === 64 || lengths.every(length => length % least === 0), 'layout-groups')
}

/** §6.7: dictionaries, codes and spare codes of the proved columns of names */
function coded(file) {
  const { targets = {}, record } = file.dof
  for (const [name, groups] of file.named) {
    const { kind, classes } = has(targets, name) ? targets[name] : {}
    for (const { names, codes, spare } of groups) {
      const wanted = kind === 'category' ? classes : name === record.split ? splitOrder(names) : names
      file.claim(JSON.stringify(names) === JSON.stringify(wanted), 'names-dictionary', name)
      file.claim(codes.every(code => code < names.length), 'names-code', name)
      file.claim(spare.every(code => code === 0), 'names-spare', name)
    }
  }
}

/** The least A that §6.1 allows in a file of several groups. */
function leastAlignment(widths) {
  const unit = Math.max(...widths.map(width => 4096 / Math.min(width & -width, 4096)))
  return unit * sum(widths) < 2 ** 30 ? 4096 : 64
}

/** What needs the data: every page, attachment and value that lies open. */
async function deep(file) {
  const found = async (id, look) => {
    try { await look() } catch (error) { file.claim(false, error.id ?? id, error.message) }
  }
  for (const { name } of file.dof.documents ?? []) await found('attachment-digest', () => file.document(name))
  await found('errors-table', () => errors(file))
  await walk(file)
  coded(file)
  for (const name of file.sound) {
    const column = file.named.has(name) ? null : await file.column(name)
    if (column && file.dof.columns[name].layout === 'mapped') await values(file, name, column)
  }
  await found('data-unreadable', () => rows(file))
}

/** §5: the lines of the errors table */
async function errors(file) {
  const { errors } = file.dof, text = errors ? String(await file.attachment(errors)) : '', lines = text.split('\n')
  const told = lines.slice(0, -1).map(line => strictJson(Buffer.from(line)))
  const sound = told.every(error => ['id', 'rule', 'reason'].every(key => typeof error?.[key] === 'string')
    && ['string', 'undefined'].includes(typeof error.group))
  file.claim(sound && lines.at(-1) === '' && told.length === (errors?.rows ?? 0), 'errors-table')
}

/** §6.6: the pages tile their chunk, and their values add up. */
async function walk(file) {
  for (const chunk of file.footer.chunks) {
    let values = 0, sound = true
    try {
      for await (const { data, data2, inflated } of pages(file.source, chunk)) {
        values += (data ?? data2)?.values ?? 0
        sound &&= inflated <= 2 ** 27
      }
    } catch { sound = false }
    file.claim(sound && (values === chunk.values || !file.counted), 'page-bounds', chunk.path.join('.'))
  }
}

/** §6.2, §3.1, §3.3: levels say that every list is full, features are finite, targets are classes or finite */
async function values(file, name, column) {
  const { columns, targets = {} } = file.dof, { role, dtype } = columns[name], { regions, items, isVector } = column
  const { kind, classes = [] } = has(targets, name) ? targets[name] : {}
  const finite = dtype === 'float16' ? half => (half & 0x7c00) !== 0x7c00 : Number.isFinite
  const isClass = value => value >= 0 && value < classes.length
  const allowed = { category: isClass, regression: value => typeof value === 'bigint' || finite(value) }[kind]
  for (const [number, { begin, offset, rows }] of regions.entries()) {
    const prefix = await take(file.source, begin, offset - begin)
    const full = prefix.equals(preamble(rows, column)) || !isVector || sayFull(prefix, rows, items)
    file.claim(full, 'layout-levels', name)
    const numbers = await column.group(number)
    if (role === 'feature') file.claim(numbers.every(finite), 'feature-nonfinite', name)
    if (allowed) file.claim(numbers.every(allowed), 'target-value', name)
  }
}

/** §3.2: no two rows alike, those of a record together, frames in order, pseudonyms of one length */
async function rows(file) {
  const { record, privacy } = file.dof
  const numbers = async name => {
    const column = name && await file.column(name), parts = column?.regions.map((_, at) => column.group(at)) ?? []
    return (await Promise.all(parts)).flatMap(part => [...part])
  }
  const ids = await strings(file, record.id) ?? [], groups = await strings(file, record.group) ?? []
  const views = await numbers(record.view), frames = await numbers(record.frame)
  const keys = ids.map((id, row) => JSON.stringify([id, views[row], frames[row]]))
  const oneLength = names => new Set(names.filter(name => name !== null).map(name => name.length)).size < 2
  file.claim(once(keys), 'id-repeated')
  file.claim(ids.filter((id, row) => id !== ids[row - 1]).length === new Set(ids).size, 'id-scattered')
  file.claim(privacy?.ids !== 'pseudonym' || oneLength(ids) && oneLength(groups), 'id-width')
  const last = new Map(), rises = (frame, row, clip = JSON.stringify([ids[row], views[row]])) => {
    const before = last.get(clip)
    last.set(clip, frame)
    return !(frame < before)
  }
  file.claim(frames.every((frame, row) => rises(frame, row)), 'frame-order')
}
