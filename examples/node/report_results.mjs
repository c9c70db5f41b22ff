// Report results from Node: node examples/node/report_results.mjs [ADDRESS [TOTAL]]
//
// It registers a campaign at the status service, states how many messages there are,
// pretends to send them, and reports one result for each, 500 a call. The last result
// completes the campaign. `npm ci` in this folder installs what it needs.
// CLOSEOUT_API_KEY is the key, and CLOSEOUT_TLS_CA_FILE turns TLS on.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import grpc from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'
import protobuf from 'protobufjs'

const PROTOS = fileURLToPath(new URL('../../protos', import.meta.url))
const RESULTS_A_CALL = 500
const SECONDS_A_CALL = 30
const SECONDS_BETWEEN_TRIES = 1

const definition = protoLoader.loadSync('closeout/status/v1/status.proto', {
  includeDirs: [PROTOS],
  keepCase: true, // the names of the contract
  enums: String, // 'SENT', not 4
  longs: Number, // counts fit
  defaults: true,
})
const { closeout } = grpc.loadPackageDefinition(definition)

// What a failed call carries beside its code: google.rpc.Status with an ErrorInfo.
const errors = protobuf.parse(
  `
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  `,
  { keepCase: true },
).root

// Return the reason of a failed call, as in 'CAMPAIGN_NOT_FOUND'; '' if it has none.
function reasonOf(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? []
  if (!bytes) return ''
  const status = errors.lookupType('Status').decode(bytes)
  const info = status.details.find((detail) => detail.type_url.endsWith('google.rpc.ErrorInfo'))
  return info ? errors.lookupType('ErrorInfo').decode(info.value).reason : ''
}

// Return how to connect: by TLS if an authority is named, and a key goes to another
// machine in no other way.
function credentials(address) {
  const authority = process.env.CLOSEOUT_TLS_CA_FILE
  if (authority) return grpc.credentials.createSsl(readFileSync(authority))
  if (process.env.CLOSEOUT_API_KEY && !/^(127\.|localhost:|\[::1\]:)/.test(address)) {
    throw new Error('set CLOSEOUT_TLS_CA_FILE, so that nobody reads the key on its way')
  }
  return grpc.credentials.createInsecure()
}

// Return what every call says of its caller.
function metadata() {
  const said = new grpc.Metadata()
  const key = process.env.CLOSEOUT_API_KEY
  if (key) said.set('authorization', `Bearer ${key}`)
  return said
}

// Make a call, and repeat it while the service is not available: every call of this
// script is safe to repeat.
async function call(client, method, request) {
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        const deadline = Date.now() + SECONDS_A_CALL * 1000
        client[method](request, metadata(), { deadline }, (error, response) =>
          error ? reject(error) : resolve(response),
        )
      })
    } catch (error) {
      const retryable = [grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED]
      if (!retryable.includes(error.code)) throw error
      console.error(`${method}: ${error.details}; again in ${SECONDS_BETWEEN_TRIES} s`)
      await sleep(SECONDS_BETWEEN_TRIES * 1000)
    }
  }
}

// Send message number `sequence` and return its result.
function send(sequence) {
  const failed = sequence % 100 === 0
  return failed
    ? { sequence, outcome: 'FAILED', attempt: 1, code: '550', detail: 'no such user' }
    : { sequence, outcome: 'SENT', attempt: 1, code: '250' }
}

// Report results of one campaign; all of them are stored when this returns.
async function report(client, campaign_id, results) {
  // A call whose campaigns are all refused fails itself; with several campaigns in one
  // call, look at the rejection of each receipt as well.
  await call(client, 'BatchReportResults', {
    campaigns: [{ campaign_id, results }],
    reporter: 'my-node-sender',
  })
}

async function main(address = '127.0.0.1:20051', total = '2000') {
  const client = new closeout.status.v1.StatusService(address, credentials(address))
  const campaign_id = `example-${randomUUID()}`
  await call(client, 'CreateCampaign', { campaign_id, display_name: 'Mine', channel: 'mine' })
  await call(client, 'StartCampaign', { campaign_id, total: Number(total) })
  for (let first = 1; first <= total; first += RESULTS_A_CALL) {
    const last = Math.min(first + RESULTS_A_CALL - 1, total)
    const results = Array.from({ length: last - first + 1 }, (_, index) => send(first + index))
    await report(client, campaign_id, results)
  }
  const { campaign } = await call(client, 'GetCampaign', { campaign_id })
  const { state, sent, failed, skipped, unknown } = campaign
  console.log(
    `${campaign_id} ${state} total=${campaign.total} sent=${sent} failed=${failed}` +
      ` skipped=${skipped} unknown=${unknown}`,
  )
  client.close()
}

try {
  await main(...process.argv.slice(2))
} catch (error) {
  const reason = error.code === undefined ? '' : reasonOf(error)
  console.error([reason, error.details ?? error.message].filter(Boolean).join(': '))
  process.exitCode = 1
}
