"""Works on tables through boto3 and checks what comes back.

argument: the endpoint. Credentials and region come from the environment.
"""
import sys
import time
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

endpoint = sys.argv[1]
client = boto3.client("dynamodb", endpoint_url=endpoint)
streams = boto3.client("dynamodbstreams", endpoint_url=endpoint)
db = boto3.resource("dynamodb", endpoint_url=endpoint)


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


def refused(code, words, call, **request):
    try:
        call(**request)
    except ClientError as e:
        error = e.response["Error"]
        if error["Code"] != code or words not in error["Message"]:
            sys.exit(f"refused with {error}, want {code}: {words}")
        return e.response
    sys.exit(f"{call} was not refused, want {code}: {words}")


def until(what, ready, limit=30):
    end = time.monotonic() + limit
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {limit} s")
        time.sleep(0.1)


def make():
    table = db.create_table(
        TableName="walk", BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in (("id", "S"), ("n", "N"), ("place", "S"))],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
        LocalSecondaryIndexes=[{"IndexName": "by-place", "Projection": {"ProjectionType": "KEYS_ONLY"},
                                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "place", "KeyType": "RANGE"}]}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        Tags=[{"Key": "site", "Value": "roof"}])
    table.wait_until_exists()
    return table


def fill(table):
    with table.batch_writer() as batch:
        for i in range(500):
            batch.put_item({"id": f"b{i % 5}", "n": Decimal(i), "place": f"p{i % 7}", "pad": "x" * 3000})
    table.reload()
    same("count", table.scan(Select="COUNT")["Count"] > 0, True)


def pages(table):
    """Pages end at 1 MB or at Limit, before the filter, and go on exactly where they ended."""
    first = table.scan()
    same("a page of a scan is bounded", 300 < first["Count"] < 400 and "LastEvaluatedKey" in first, True)
    seen, request, rounds = set(), {}, 0
    while True:
        page = table.query(KeyConditionExpression=Key("id").eq("b1"), Limit=20, **request)
        seen |= {item["n"] for item in page["Items"]}
        rounds += 1
        if "LastEvaluatedKey" not in page:
            break
        request = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    same("all pages of a query", seen, {Decimal(i) for i in range(1, 500, 5)})
    same("a last page that was full is followed by an empty one", rounds, 6)
    page = table.query(KeyConditionExpression=Key("id").eq("b1"), Limit=10, FilterExpression=Attr("place").eq("none"))
    same("the limit counts before the filter", (page["Count"], page["ScannedCount"], page["LastEvaluatedKey"]["n"]), (0, 10, Decimal(46)))
    page = table.query(KeyConditionExpression=Key("id").eq("b1") & Key("n").between(100, 200), ScanIndexForward=False, Limit=2)
    same("backwards", [item["n"] for item in page["Items"]], [Decimal(196), Decimal(191)])
    index = table.query(IndexName="by-place", KeyConditionExpression=Key("id").eq("b2") & Key("place").eq("p3"), Limit=3)
    same("the key of an index's page", set(index["LastEvaluatedKey"]), {"id", "n", "place"})
    same("keys only", set(index["Items"][0]), {"id", "n", "place"})
    refused("ValidationException", "The provided starting key is", table.query, KeyConditionExpression=Key("id").eq("b1"), ExclusiveStartKey={"id": "b1"})


def segments(table):
    """Parallel segments have every item once."""
    seen = []
    for segment in range(4):
        request = {}
        while True:
            page = table.scan(Segment=segment, TotalSegments=4, ProjectionExpression="id, n", **request)
            seen += [(item["id"], item["n"]) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            request = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    same("items of all segments", (len(seen), len(set(seen))), (500, 500))
    refused("ValidationException", "Segment", table.scan, Segment=4, TotalSegments=4)


def limits(table):
    """What is too much is refused whole."""
    put = lambda i: {"PutRequest": {"Item": {"id": {"S": "big"}, "n": {"N": str(i)}}}}
    write = client.batch_write_item
    refused("ValidationException", "less than or equal to 25", write, RequestItems={"walk": [put(i) for i in range(26)]})
    refused("ValidationException", "duplicates", write, RequestItems={"walk": [put(1), put(1)]})
    keys = [{"id": {"S": "b0"}, "n": {"N": str(i)}} for i in range(101)]
    refused("ValidationException", "less than or equal to 100", client.batch_get_item, RequestItems={"walk": {"Keys": keys}})
    refused("ValidationException", "Item size has exceeded", table.put_item, Item={"id": "big", "n": 1, "pad": "x" * (400 << 10)})
    got, left = 0, {"walk": {"Keys": keys[:100:5]}}
    while left:
        page = client.batch_get_item(RequestItems=left)
        got, left = got + len(page["Responses"]["walk"]), page["UnprocessedKeys"]
    same("batch get", got, 20)


def grow(table):
    """An index for a table that has items is filled in the background."""
    client.update_table(
        TableName="walk", AttributeDefinitions=[{"AttributeName": "place", "AttributeType": "S"}, {"AttributeName": "n", "AttributeType": "N"}],
        GlobalSecondaryIndexUpdates=[{"Create": {"IndexName": "places", "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["pad"]},
                                                 "KeySchema": [{"AttributeName": "place", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}]}}])
    index = lambda: client.describe_table(TableName="walk")["Table"].get("GlobalSecondaryIndexes", [])
    until("index", lambda: index()[0]["IndexStatus"] == "ACTIVE")
    paginator = client.get_paginator("query")
    found = sum(page["Count"] for page in paginator.paginate(
        TableName="walk", IndexName="places", KeyConditionExpression="place = :p", ExpressionAttributeValues={":p": {"S": "p3"}}))
    same("items of the index", found, len([i for i in range(500) if i % 7 == 3]))
    refused("ValidationException", "onsistent", table.query, IndexName="places", ConsistentRead=True, KeyConditionExpression=Key("place").eq("p3"))
    client.update_table(TableName="walk", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "places"}}])
    until("no index", lambda: not index())


def follow():
    """The stream has every change in the order of its item."""
    arn = client.describe_table(TableName="walk")["Table"]["LatestStreamArn"]
    client.put_item(TableName="walk", Item={"id": {"S": "s"}, "n": {"N": "1"}, "v": {"N": "1"}})
    client.update_item(TableName="walk", Key={"id": {"S": "s"}, "n": {"N": "1"}}, UpdateExpression="ADD v :one", ExpressionAttributeValues={":one": {"N": "1"}})
    client.delete_item(TableName="walk", Key={"id": {"S": "s"}, "n": {"N": "1"}})
    changes = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator, Limit=1000)
            changes += page["Records"]
            if not page["Records"]:
                break
            iterator = page.get("NextShardIterator")
    same("changes", len(changes), 503)
    mine = [(c["eventName"], c["dynamodb"].get("OldImage", {}).get("v"), c["dynamodb"].get("NewImage", {}).get("v")) for c in changes if c["dynamodb"]["Keys"]["id"]["S"] == "s"]
    one, two = {"N": "1"}, {"N": "2"}
    same("changes of one item", mine, [("INSERT", None, one), ("MODIFY", one, two), ("REMOVE", two, None)])


def statements():
    """PartiQL, one statement and several."""
    run = lambda text, *values: client.execute_statement(Statement=text, Parameters=list(values)) if values else client.execute_statement(Statement=text)
    run("INSERT INTO walk VALUE {'id': ?, 'n': ?}", {"S": "q"}, {"N": "1"})
    refused("DuplicateItemException", "Duplicate primary key exists in table", client.execute_statement, Statement="INSERT INTO walk VALUE {'id': 'q', 'n': 1}")
    run("UPDATE walk SET v = 5 WHERE id = 'q' AND n = 1")
    same("selected", run("SELECT v FROM walk WHERE id = 'q' AND n = 1")["Items"], [{"v": {"N": "5"}}])
    answers = client.batch_execute_statement(Statements=[{"Statement": "SELECT v FROM walk WHERE id = 'q' AND n = 1"}, {"Statement": "SELECT v FROM nowhere WHERE id = 'q'"}])["Responses"]
    same("batch", (answers[0]["Item"], answers[1]["Error"]["Code"]), ({"v": {"N": "5"}}, "ResourceNotFound"))
    run("DELETE FROM walk WHERE id = 'q' AND n = 1")
    same("deleted", run("SELECT * FROM walk WHERE id = 'q'")["Items"], [])


def transact():
    """All or nothing, and a token that makes a repetition harmless."""
    put = {"Put": {"TableName": "walk", "Item": {"id": {"S": "t"}, "n": {"N": "1"}}}}
    fails = {"ConditionCheck": {"TableName": "walk", "Key": {"id": {"S": "none"}, "n": {"N": "1"}}, "ConditionExpression": "attribute_exists(id)"}}
    answer = refused("TransactionCanceledException", "[None, ConditionalCheckFailed]", client.transact_write_items, TransactItems=[put, fails])
    same("reasons", [r["Code"] for r in answer["CancellationReasons"]], ["None", "ConditionalCheckFailed"])
    same("nothing", "Item" in client.get_item(TableName="walk", Key=put["Put"]["Item"]), False)
    add = {"Update": {"TableName": "walk", "Key": put["Put"]["Item"], "UpdateExpression": "ADD v :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}}
    for _ in range(2):
        client.transact_write_items(TransactItems=[add], ClientRequestToken="token-1")
    got = client.transact_get_items(TransactItems=[{"Get": {"TableName": "walk", "Key": put["Put"]["Item"]}}])
    same("once", got["Responses"][0]["Item"]["v"], {"N": "1"})


def keep(table):
    """Tags, expiry, backups, exports."""
    arn = client.describe_table(TableName="walk")["Table"]["TableArn"]
    client.tag_resource(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "lab"}])
    client.untag_resource(ResourceArn=arn, TagKeys=["site"])
    same("tags", client.list_tags_of_resource(ResourceArn=arn)["Tags"], [{"Key": "owner", "Value": "lab"}])

    client.update_time_to_live(TableName="walk", TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends"})
    table.put_item(Item={"id": "old", "n": 1, "ends": int(time.time()) - 100})
    until("expiry", lambda: "Item" not in table.get_item(Key={"id": "old", "n": 1}))

    backup = client.create_backup(TableName="walk", BackupName="first")["BackupDetails"]["BackupArn"]
    until("backup", lambda: client.describe_backup(BackupArn=backup)["BackupDescription"]["BackupDetails"]["BackupStatus"] == "AVAILABLE")
    client.restore_table_from_backup(TargetTableName="again", BackupArn=backup)
    until("restore", lambda: client.describe_table(TableName="again")["Table"]["TableStatus"] == "ACTIVE")
    count = lambda name: sum(page["Count"] for page in client.get_paginator("scan").paginate(TableName=name, Select="COUNT"))
    same("restored", count("again"), count("walk"))
    client.delete_backup(BackupArn=backup)
    same("backups", client.list_backups(TableName="walk")["BackupSummaries"], [])

    export = client.export_table_to_point_in_time(TableArn=arn, S3Bucket="exports", ExportFormat="DYNAMODB_JSON")["ExportDescription"]["ExportArn"]
    status = lambda: client.describe_export(ExportArn=export)["ExportDescription"]
    until("export", lambda: status()["ExportStatus"] != "IN_PROGRESS")
    same("exported", (status()["ExportStatus"], status()["ItemCount"]), ("COMPLETED", count("walk")))

    for name in ("walk", "again"):
        client.delete_table(TableName=name)
    until("no tables", lambda: not {"walk", "again"} & set(client.list_tables()["TableNames"]))


table = make()
for step in (fill, pages, segments, limits):
    step(table)
follow()
grow(table)
statements()
transact()
keep(table)
print(boto3.__version__)
