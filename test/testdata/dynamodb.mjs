// Real work with AWS's SDK for JavaScript, against the endpoint in
// AWS_ENDPOINT_URL. It is run by the tests of Go, and fails with a text.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import * as ddb from "@aws-sdk/client-dynamodb";
import * as doc from "@aws-sdk/lib-dynamodb";
import * as streams from "@aws-sdk/client-dynamodb-streams";

const config = { endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION };
const client = new ddb.DynamoDBClient(config);
const docs = doc.DynamoDBDocumentClient.from(client, {
  marshallOptions: { removeUndefinedValues: true },
  unmarshallOptions: { wrapNumbers: false },
});
const exact = doc.DynamoDBDocumentClient.from(new ddb.DynamoDBClient(config), { unmarshallOptions: { wrapNumbers: (text) => text } });
const changes = new streams.DynamoDBStreamsClient(config);
const TableName = "orders";

async function tables() {
  await client.send(new ddb.CreateTableCommand({
    TableName,
    BillingMode: "PAY_PER_REQUEST",
    AttributeDefinitions: ["customer", "at", "state"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
    KeySchema: [{ AttributeName: "customer", KeyType: "HASH" }, { AttributeName: "at", KeyType: "RANGE" }],
    GlobalSecondaryIndexes: [{
      IndexName: "by-state",
      KeySchema: [{ AttributeName: "state", KeyType: "HASH" }, { AttributeName: "at", KeyType: "RANGE" }],
      Projection: { ProjectionType: "INCLUDE", NonKeyAttributes: ["amount"] },
    }],
    LocalSecondaryIndexes: [{
      IndexName: "by-own-state",
      KeySchema: [{ AttributeName: "customer", KeyType: "HASH" }, { AttributeName: "state", KeyType: "RANGE" }],
      Projection: { ProjectionType: "KEYS_ONLY" },
    }],
    StreamSpecification: { StreamEnabled: true, StreamViewType: "NEW_AND_OLD_IMAGES" },
  }));
  const { table } = { table: (await ddb.waitUntilTableExists({ client, maxWaitTime: 20, minDelay: 1 }, { TableName })).reason.Table };
  assert.equal(table.TableStatus, "ACTIVE");
  assert.equal(table.GlobalSecondaryIndexes[0].IndexStatus, "ACTIVE");
  assert.ok(table.CreationDateTime instanceof Date);
  assert.ok(Date.now() - table.CreationDateTime < 60_000);
  return table;
}

async function values() {
  const item = {
    customer: "ada", at: "2026-01-01", state: "new", amount: 35.25, big: 12345678901234567890n,
    none: null, yes: true, empty: "", raw: new Uint8Array([0, 1, 255]),
    tags: new Set(["b", "a"]), sizes: new Set([1, 2.5]), blobs: new Set([new Uint8Array([7])]),
    nested: { list: [1, "two", { three: [3n, [], {}] }], gone: undefined },
  };
  const put = await docs.send(new doc.PutCommand({ TableName, Item: item, ReturnConsumedCapacity: "INDEXES" }));
  assert.ok(put.ConsumedCapacity.CapacityUnits >= 2);
  const Key = { customer: "ada", at: "2026-01-01" };
  const got = (await docs.send(new doc.GetCommand({ TableName, Key, ConsistentRead: true }))).Item;
  delete item.nested.gone;
  item.nested.list[2].three[0] = 3;
  assert.deepEqual(got, item);
  assert.equal((await exact.send(new doc.GetCommand({ TableName, Key }))).Item.big, "12345678901234567890");
  const precise = "-1.2345678901234567890123456789012345678E-20";
  await exact.send(new doc.PutCommand({ TableName, Item: { ...Key, at: "number", n: doc.NumberValue.from(precise) } }));
  const n = (await exact.send(new doc.GetCommand({ TableName, Key: { ...Key, at: "number" } }))).Item.n;
  assert.equal(n, "-0.000000000000000000012345678901234567890123456789012345678");
  assert.equal((await docs.send(new doc.GetCommand({ TableName, Key: { ...Key, at: "none" } }))).Item, undefined);
}

async function updates() {
  const Key = { customer: "ada", at: "2026-01-01" };
  const updated = await docs.send(new doc.UpdateCommand({
    TableName, Key, ReturnValues: "ALL_NEW",
    UpdateExpression: "SET nested.#l[1] = :v, amount = amount + :one, more = list_append(if_not_exists(more, :none), :list) REMOVE yes ADD sizes :size DELETE tags :tag",
    ExpressionAttributeNames: { "#l": "list" },
    ExpressionAttributeValues: { ":v": "2", ":one": 1, ":none": [], ":list": ["x"], ":size": new Set([3]), ":tag": new Set(["a"]) },
  }));
  assert.deepEqual(updated.Attributes.sizes, new Set([1, 2.5, 3]));
  assert.deepEqual(updated.Attributes.tags, new Set(["b"]));
  assert.equal(updated.Attributes.nested.list[1], "2");
  assert.equal(updated.Attributes.amount, 36.25);
  assert.deepEqual(updated.Attributes.more, ["x"]);
  assert.ok(!("yes" in updated.Attributes));
  await assert.rejects(docs.send(new doc.UpdateCommand({
    TableName, Key, UpdateExpression: "SET amount = :t", ConditionExpression: "#state = :s", ExpressionAttributeNames: { "#state": "state" },
    ExpressionAttributeValues: { ":t": 1, ":s": "paid" }, ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  })), (err) => {
    assert.ok(err instanceof ddb.ConditionalCheckFailedException);
    assert.equal(err.name, "ConditionalCheckFailedException");
    assert.equal(err.message, "The conditional request failed");
    assert.equal(err.$metadata.httpStatusCode, 400);
    assert.equal(err.$metadata.attempts, 1);
    assert.ok(err.$metadata.requestId);
    assert.deepEqual(err.Item.amount, { N: "36.25" });
    return true;
  });
  const removed = await docs.send(new doc.DeleteCommand({ TableName, Key: { ...Key, at: "number" }, ReturnValues: "ALL_OLD" }));
  assert.equal(removed.Attributes.customer, "ada");
}

async function pages() {
  const items = Array.from({ length: 60 }, (_, i) => ({
    customer: "bob", at: `t${String(i).padStart(3, "0")}`, state: i % 3 ? "paid" : "new", amount: i, filler: "x".repeat(40_000),
  }));
  for (let i = 0; i < items.length; i += 25) {
    const answer = await docs.send(new doc.BatchWriteCommand({ RequestItems: { [TableName]: items.slice(i, i + 25).map((Item) => ({ PutRequest: { Item } })) } }));
    assert.deepEqual(answer.UnprocessedItems, {});
  }
  const query = { TableName, KeyConditionExpression: "customer = :c", ExpressionAttributeValues: { ":c": "bob" }, ScanIndexForward: false };
  const found = [];
  let count = 0;
  for await (const page of doc.paginateQuery({ client: docs }, query)) {
    found.push(...page.Items);
    count++;
  }
  assert.deepEqual(found.map((it) => it.amount), items.map((it) => it.amount).reverse());
  assert.ok(count >= 3, `${count} pages of 2.4 MB`);
  const totals = [];
  for await (const page of doc.paginateQuery({ client: docs, pageSize: 7 }, {
    TableName, IndexName: "by-state", KeyConditionExpression: "#s = :s AND begins_with(#at, :t)", FilterExpression: "amount < :max",
    ExpressionAttributeNames: { "#s": "state", "#at": "at" }, ExpressionAttributeValues: { ":s": "new", ":t": "t0", ":max": 30 },
  })) totals.push(...page.Items.map((it) => it.amount));
  assert.deepEqual(totals, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
  const segments = await Promise.all([0, 1, 2].map(async (Segment) => {
    let n = 0;
    for await (const page of doc.paginateScan({ client: docs }, { TableName, Segment, TotalSegments: 3, Select: "COUNT" })) n += page.Count;
    return n;
  }));
  assert.equal(segments.reduce((a, b) => a + b), 61);
  const batch = await docs.send(new doc.BatchGetCommand({ RequestItems: { [TableName]: {
    Keys: [0, 1, 99].map((i) => ({ customer: "bob", at: `t${String(i).padStart(3, "0")}` })), ProjectionExpression: "amount",
  } } }));
  assert.deepEqual(batch.Responses[TableName].map((it) => it.amount).sort(), [0, 1]);
}

async function transactions() {
  const Key = { customer: "bob", at: "t000" };
  const pay = (token, expected) => docs.send(new doc.TransactWriteCommand({ ClientRequestToken: token, TransactItems: [
    { Update: { TableName, Key, UpdateExpression: "SET #s = :paid", ConditionExpression: "#s = :s", ExpressionAttributeNames: { "#s": "state" },
      ExpressionAttributeValues: { ":paid": "paid", ":s": expected }, ReturnValuesOnConditionCheckFailure: "ALL_OLD" } },
    { Put: { TableName, Item: { customer: "bob", at: "receipt" } } },
    { ConditionCheck: { TableName, Key: { customer: "ada", at: "2026-01-01" }, ConditionExpression: "attribute_exists(customer)" } },
  ] }));
  await pay("token-1", "new");
  await pay("token-1", "new"); // is done once
  await assert.rejects(pay("token-1", "other"), { name: "IdempotentParameterMismatchException" });
  await assert.rejects(pay("token-2", "new"), (err) => {
    assert.ok(err instanceof ddb.TransactionCanceledException);
    assert.deepEqual(err.CancellationReasons.map((r) => r.Code), ["ConditionalCheckFailed", "None", "None"]);
    assert.equal(err.CancellationReasons[0].Item.state.S ?? err.CancellationReasons[0].Item.state, "paid");
    return true;
  });
  const got = await docs.send(new doc.TransactGetCommand({ TransactItems: [
    { Get: { TableName, Key, ProjectionExpression: "#s", ExpressionAttributeNames: { "#s": "state" } } }, { Get: { TableName, Key: { customer: "no", at: "body" } } },
  ] }));
  assert.deepEqual(got.Responses.map((r) => r.Item), [{ state: "paid" }, undefined]);
}

async function statements() {
  const rows = await docs.send(new doc.ExecuteStatementCommand({
    Statement: `SELECT "at", amount FROM "${TableName}" WHERE customer = ? AND "at" BETWEEN ? AND ?`, Parameters: ["bob", "t010", "t012"],
  }));
  assert.deepEqual(rows.Items, [10, 11, 12].map((amount) => ({ at: `t0${amount}`, amount })));
  await docs.send(new doc.ExecuteStatementCommand({ Statement: `INSERT INTO "${TableName}" VALUE {'customer': ?, 'at': ?, 'tags': <<'a'>>}`, Parameters: ["eve", "now"] }));
  await assert.rejects(docs.send(new doc.ExecuteStatementCommand({
    Statement: `INSERT INTO "${TableName}" VALUE {'customer': 'eve', 'at': 'now'}`,
  })), { name: "DuplicateItemException" });
  const both = (statement) => docs.send(new doc.BatchExecuteStatementCommand({
    Statements: ["now", "then"].map((at) => ({ Statement: statement, Parameters: ["eve", at] })),
  }));
  const read = await both(`SELECT * FROM "${TableName}" WHERE customer = ? AND "at" = ?`);
  assert.deepEqual(read.Responses.map((r) => r.Item), [{ customer: "eve", at: "now", tags: new Set(["a"]) }, undefined]);
  const removed = await both(`DELETE FROM "${TableName}" WHERE customer = ? AND "at" = ? AND amount = 1`);
  assert.equal(removed.Responses[0].Error.Code, "ConditionalCheckFailed");
}

async function readStream(table) {
  const { StreamDescription: stream } = await changes.send(new streams.DescribeStreamCommand({ StreamArn: table.LatestStreamArn }));
  assert.equal(stream.StreamViewType, "NEW_AND_OLD_IMAGES");
  const { ShardId } = stream.Shards[0];
  let { ShardIterator } = await changes.send(new streams.GetShardIteratorCommand({ StreamArn: table.LatestStreamArn, ShardId, ShardIteratorType: "TRIM_HORIZON" }));
  const records = [];
  for (let empty = 0; empty < 2;) {
    const page = await changes.send(new streams.GetRecordsCommand({ ShardIterator }));
    records.push(...page.Records);
    ShardIterator = page.NextShardIterator;
    empty = page.Records.length ? 0 : empty + 1;
  }
  assert.equal(records.length, 67);
  assert.equal(records[0].eventName, "INSERT");
  assert.equal(records[0].dynamodb.NewImage.big.N, "12345678901234567890");
  assert.deepEqual(records[0].dynamodb.NewImage.raw.B, new Uint8Array([0, 1, 255]));
  assert.ok(records[0].dynamodb.ApproximateCreationDateTime instanceof Date);
  const modified = records.filter((r) => r.eventName === "MODIFY");
  assert.deepEqual(modified.map((r) => r.dynamodb.OldImage.state.S + " " + r.dynamodb.NewImage.state.S), ["new new", "new paid"]);
}

async function refusals() {
  await assert.rejects(client.send(new ddb.DescribeTableCommand({ TableName: "none-of-it" })), (err) => err instanceof ddb.ResourceNotFoundException);
  await assert.rejects(client.send(new ddb.CreateTableCommand({
    TableName, BillingMode: "PAY_PER_REQUEST", AttributeDefinitions: [{ AttributeName: "a", AttributeType: "S" }], KeySchema: [{ AttributeName: "a", KeyType: "HASH" }],
  })), (err) => err instanceof ddb.ResourceInUseException);
  await assert.rejects(docs.send(new doc.PutCommand({ TableName, Item: { customer: 1, at: "x" } })), (err) => {
    assert.equal(err.name, "ValidationException");
    assert.match(err.message, /Type mismatch for key customer expected: S actual: N/);
    return true;
  });
  const stranger = new ddb.DynamoDBClient({ ...config, credentials: { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "x" } });
  await assert.rejects(stranger.send(new ddb.ListTablesCommand({})), { name: "UnrecognizedClientException" });
  // What cannot be reached is tried again as often as it is asked for.
  const away = new ddb.DynamoDBClient({ ...config, endpoint: "http://127.0.0.1:1", maxAttempts: 2 });
  await assert.rejects(away.send(new ddb.ListTablesCommand({})), (err) => err.$metadata.attempts === 2);
}

async function administration(table) {
  await client.send(new ddb.UpdateTableCommand({
    TableName, AttributeDefinitions: [{ AttributeName: "amount", AttributeType: "N" }, { AttributeName: "customer", AttributeType: "S" }],
    GlobalSecondaryIndexUpdates: [{ Create: { IndexName: "by-amount", Projection: { ProjectionType: "KEYS_ONLY" },
      KeySchema: [{ AttributeName: "customer", KeyType: "HASH" }, { AttributeName: "amount", KeyType: "RANGE" }] } }],
  }));
  for (let status; status !== "ACTIVE"; await sleep(50)) {
    const now = (await client.send(new ddb.DescribeTableCommand({ TableName }))).Table;
    status = now.GlobalSecondaryIndexes.find((x) => x.IndexName === "by-amount").IndexStatus;
  }
  const top = await docs.send(new doc.QueryCommand({
    TableName, IndexName: "by-amount", KeyConditionExpression: "customer = :c", ExpressionAttributeValues: { ":c": "bob" }, ScanIndexForward: false, Limit: 1,
  }));
  assert.equal(top.Items[0].amount, 59);
  await client.send(new ddb.UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification: { AttributeName: "until", Enabled: true } }));
  assert.equal((await client.send(new ddb.DescribeTimeToLiveCommand({ TableName }))).TimeToLiveDescription.AttributeName, "until");
  await client.send(new ddb.TagResourceCommand({ ResourceArn: table.TableArn, Tags: [{ Key: "k", Value: "v" }] }));
  assert.deepEqual((await client.send(new ddb.ListTagsOfResourceCommand({ ResourceArn: table.TableArn }))).Tags, [{ Key: "k", Value: "v" }]);
  const { BackupArn } = (await client.send(new ddb.CreateBackupCommand({ TableName, BackupName: "nightly" }))).BackupDetails;
  for (let status; status !== "AVAILABLE"; await sleep(50)) {
    const now = (await client.send(new ddb.DescribeBackupCommand({ BackupArn }))).BackupDescription;
    status = now.BackupDetails.BackupStatus;
  }
  await client.send(new ddb.RestoreTableFromBackupCommand({ BackupArn, TargetTableName: "again" }));
  await ddb.waitUntilTableExists({ client, maxWaitTime: 30, minDelay: 1 }, { TableName: "again" });
  let restored = 0;
  for await (const page of doc.paginateScan({ client: docs }, { TableName: "again", Select: "COUNT" })) restored += page.Count;
  assert.equal(restored, 63);
  await client.send(new ddb.DeleteBackupCommand({ BackupArn }));
  await client.send(new ddb.DeleteTableCommand({ TableName: "again" }));
  await ddb.waitUntilTableNotExists({ client, maxWaitTime: 20, minDelay: 1 }, { TableName: "again" });
}

const table = await tables();
for (const step of [values, updates, pages, transactions, statements, readStream, refusals, administration]) {
  try {
    await step(table);
  } catch (err) {
    console.error(`${step.name}: ${err.stack}`);
    process.exit(1);
  }
}
console.log("done");
