package dynamodb

import (
	"os/exec"
	"strings"
	"testing"
)

const indexScript = `
import sys, time, boto3
from boto3.dynamodb.conditions import Key, Attr
from botocore.exceptions import ClientError
url = sys.argv[1]
args = dict(endpoint_url=url, region_name='us-east-1', aws_access_key_id='AKIDEXAMPLE', aws_secret_access_key='secret')
client = boto3.client('dynamodb', **args)
t = boto3.resource('dynamodb', **args).create_table(
    TableName='air', BillingMode='PROVISIONED', ProvisionedThroughput=dict(ReadCapacityUnits=1, WriteCapacityUnits=1),
    KeySchema=[dict(AttributeName='id', KeyType='HASH'), dict(AttributeName='n', KeyType='RANGE')],
    AttributeDefinitions=[dict(AttributeName=a, AttributeType=k) for a, k in (('id', 'S'), ('n', 'N'), ('site', 'S'), ('dust', 'N'))],
    LocalSecondaryIndexes=[dict(IndexName='by-dust', KeySchema=[dict(AttributeName='id', KeyType='HASH'), dict(AttributeName='dust', KeyType='RANGE')],
        Projection=dict(ProjectionType='INCLUDE', NonKeyAttributes=['ok']))],
    GlobalSecondaryIndexes=[dict(IndexName='by-site', KeySchema=[dict(AttributeName='site', KeyType='HASH'), dict(AttributeName='dust', KeyType='RANGE')],
        Projection=dict(ProjectionType='ALL'), ProvisionedThroughput=dict(ReadCapacityUnits=2, WriteCapacityUnits=3))])
t.wait_until_exists()
with t.batch_writer() as w:
    for i in range(60):
        w.put_item(Item=dict(id=str(i % 2), n=i, dust=i % 5, ok=True, **({'site': 'roof'} if i % 3 else {})))
d = client.describe_table(TableName='air')['Table']
g, l = d['GlobalSecondaryIndexes'][0], d['LocalSecondaryIndexes'][0]
assert g['IndexStatus'] == 'ACTIVE' and g['ItemCount'] >= 0 and g['IndexArn'].endswith('table/air/index/by-site'), g
assert g['ProvisionedThroughput']['WriteCapacityUnits'] == 3 and g['Projection'] == {'ProjectionType': 'ALL'}, g
assert l['Projection'] == {'ProjectionType': 'INCLUDE', 'NonKeyAttributes': ['ok']} and 'IndexStatus' not in l, l
items, start = [], {}
while True:
    p = t.query(IndexName='by-site', KeyConditionExpression=Key('site').eq('roof') & Key('dust').gte(2), Limit=7, ScanIndexForward=False, **start)
    items += p['Items']
    if 'LastEvaluatedKey' not in p: break
    assert set(p['LastEvaluatedKey']) == {'site', 'dust', 'id', 'n'}, p
    start = dict(ExclusiveStartKey=p['LastEvaluatedKey'])
assert len(items) == 24 and [int(i['dust']) for i in items] == sorted([int(i['dust']) for i in items], reverse=True), items
p = t.query(IndexName='by-dust', KeyConditionExpression=Key('id').eq('1') & Key('dust').eq(3), ConsistentRead=True, ReturnConsumedCapacity='INDEXES')
assert p['Count'] == 6 and set(p['Items'][0]) == {'id', 'n', 'dust', 'ok'}, p
assert p['ConsumedCapacity']['LocalSecondaryIndexes'] == {'by-dust': {'CapacityUnits': 1.0}} and p['ConsumedCapacity']['Table'] == {'CapacityUnits': 0.0}, p
p = t.query(IndexName='by-dust', KeyConditionExpression=Key('id').eq('1'), Select='ALL_ATTRIBUTES', FilterExpression=Attr('site').exists())
assert p['Count'] == 20 and 'site' in p['Items'][0], p
assert t.scan(IndexName='by-site', Select='COUNT')['Count'] == 40
assert t.scan(IndexName='by-site', Select='ALL_PROJECTED_ATTRIBUTES', Segment=0, TotalSegments=1)['Count'] == 40
def refused(f, code, text, **kw):
    try: f(**kw)
    except ClientError as e: assert e.response['Error']['Code'] == code and text in e.response['Error']['Message'], e
    else: raise Exception('not refused: ' + text)
refused(t.query, 'ValidationException', 'Consistent reads are not supported on global secondary indexes', IndexName='by-site', KeyConditionExpression=Key('site').eq('x'), ConsistentRead=True)
refused(t.query, 'ValidationException', 'The table does not have the specified index: none', IndexName='none', KeyConditionExpression=Key('site').eq('x'))
refused(t.put_item, 'ValidationException', 'Type mismatch for Index Key site Expected: S Actual: N IndexName: by-site', Item=dict(id='1', n=1, site=1))
put = t.put_item(Item=dict(id='1', n=100, dust=1, site='roof'), ReturnConsumedCapacity='INDEXES')['ConsumedCapacity']
assert put['CapacityUnits'] == 3 and put['GlobalSecondaryIndexes'] == {'by-site': {'CapacityUnits': 1.0}}, put

u = client.update_table(TableName='air', BillingMode='PAY_PER_REQUEST', DeletionProtectionEnabled=True)['TableDescription']
assert u['TableStatus'] == 'UPDATING' and u['BillingModeSummary']['BillingMode'] == 'PAY_PER_REQUEST' and u['DeletionProtectionEnabled'], u
refused(client.delete_table, 'ValidationException', 'protected against deletion', TableName='air')
client.update_table(TableName='air', DeletionProtectionEnabled=False)
u = client.update_table(TableName='air', AttributeDefinitions=[dict(AttributeName='n', AttributeType='N')], GlobalSecondaryIndexUpdates=[
    dict(Create=dict(IndexName='by-n', KeySchema=[dict(AttributeName='n', KeyType='HASH')], Projection=dict(ProjectionType='KEYS_ONLY')))])
def status(): return {x['IndexName']: x['IndexStatus'] for x in client.describe_table(TableName='air')['Table']['GlobalSecondaryIndexes']}
for _ in range(200):
    if status()['by-n'] == 'ACTIVE': break
    time.sleep(0.05)
assert t.query(IndexName='by-n', KeyConditionExpression=Key('n').eq(7))['Items'] == [dict(id='1', n=7)]
client.update_table(TableName='air', GlobalSecondaryIndexUpdates=[dict(Delete=dict(IndexName='by-n'))])
for _ in range(200):
    if 'by-n' not in status(): break
    time.sleep(0.05)
assert set(status()) == {'by-site'}
refused(client.update_table, 'ResourceNotFoundException', 'by-n', TableName='air', GlobalSecondaryIndexUpdates=[dict(Delete=dict(IndexName='by-n'))])

assert client.describe_time_to_live(TableName='air')['TimeToLiveDescription'] == {'TimeToLiveStatus': 'DISABLED'}
spec = dict(Enabled=True, AttributeName='exp')
assert client.update_time_to_live(TableName='air', TimeToLiveSpecification=spec)['TimeToLiveSpecification'] == spec
refused(client.update_time_to_live, 'ValidationException', 'already enabled', TableName='air', TimeToLiveSpecification=spec)
ttl = client.describe_time_to_live(TableName='air')['TimeToLiveDescription']
assert ttl['AttributeName'] == 'exp' and ttl['TimeToLiveStatus'] in ('ENABLED', 'ENABLING'), ttl
t.put_item(Item=dict(id='old', n=1, exp=int(time.time()) - 60))
for _ in range(200):
    if 'Item' not in t.get_item(Key=dict(id='old', n=1)): break
    time.sleep(0.05)
else: raise Exception('an expired item stays')
print('ok')
`

// TestBotoIndexes takes boto3 through indexes, changes of a table and expiry.
func TestBotoIndexes(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	server, _ := serve(t)
	out, err := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", indexScript, server.URL).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Fatalf("%v\n%s", err, out)
	}
}
