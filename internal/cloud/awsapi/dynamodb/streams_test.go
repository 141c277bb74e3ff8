package dynamodb

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

const streamScript = `
import sys, time, boto3
from botocore.exceptions import ClientError
args = dict(endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='AKIDEXAMPLE', aws_secret_access_key='secret')
db, st = boto3.client('dynamodb', **args), boto3.client('dynamodbstreams', **args)
made = db.create_table(TableName='air', BillingMode='PAY_PER_REQUEST', KeySchema=[dict(AttributeName='id', KeyType='HASH')],
    AttributeDefinitions=[dict(AttributeName='id', AttributeType='S')], StreamSpecification=dict(StreamEnabled=True, StreamViewType='NEW_AND_OLD_IMAGES'))['TableDescription']
arn = made['LatestStreamArn']
assert made['StreamSpecification'] == {'StreamEnabled': True, 'StreamViewType': 'NEW_AND_OLD_IMAGES'} and arn.endswith(made['LatestStreamLabel']), made
listed = st.list_streams(TableName='air')['Streams']
assert listed == [dict(StreamArn=arn, StreamLabel=made['LatestStreamLabel'], TableName='air')], listed
d = st.describe_stream(StreamArn=arn)['StreamDescription']
assert d['StreamStatus'] == 'ENABLED' and d['KeySchema'][0]['AttributeName'] == 'id' and len(d['Shards']) == 1, d
shard = d['Shards'][0]['ShardId']
def begin(kind, **kw): return st.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType=kind, **kw)['ShardIterator']
def read(it, **kw):
    r = st.get_records(ShardIterator=it, **kw)
    return r['Records'], r.get('NextShardIterator')
db.put_item(TableName='air', Item=dict(id={'S': 'a'}, dust={'N': '1'}))
latest = begin('LATEST')
db.put_item(TableName='air', Item=dict(id={'S': 'a'}, dust={'N': '1'}))
db.update_item(TableName='air', Key=dict(id={'S': 'a'}), UpdateExpression='SET dust = dust + :one', ExpressionAttributeValues={':one': {'N': '1'}})
db.delete_item(TableName='air', Key=dict(id={'S': 'a'}))
all, next = read(begin('TRIM_HORIZON'))
assert [r['eventName'] for r in all] == ['INSERT', 'MODIFY', 'REMOVE'], all
assert len(set(r['eventID'] for r in all)) == 3 and all[0]['eventSource'] == 'aws:dynamodb' and all[0]['awsRegion'] == 'us-east-1', all
m = all[1]['dynamodb']
assert m['Keys'] == dict(id={'S': 'a'}) and m['OldImage']['dust'] == {'N': '1'} and m['NewImage']['dust'] == {'N': '2'} and m['SizeBytes'] == 3 + 2 * 9, m
assert abs(time.time() - m['ApproximateCreationDateTime'].timestamp()) < 60 and m['StreamViewType'] == 'NEW_AND_OLD_IMAGES', m
numbers = [r['dynamodb']['SequenceNumber'] for r in all]
assert numbers == sorted(numbers) and [int(n) for n in numbers] == sorted(int(n) for n in numbers), numbers
assert [r['eventName'] for r in read(latest)[0]] == ['MODIFY', 'REMOVE']
assert [r['eventName'] for r in read(begin('AT_SEQUENCE_NUMBER', SequenceNumber=numbers[1]), Limit=1)[0]] == ['MODIFY']
assert [r['eventName'] for r in read(begin('AFTER_SEQUENCE_NUMBER', SequenceNumber=numbers[1]))[0]] == ['REMOVE']
db.update_time_to_live(TableName='air', TimeToLiveSpecification=dict(Enabled=True, AttributeName='exp'))
db.put_item(TableName='air', Item=dict(id={'S': 'old'}, exp={'N': str(int(time.time()) - 60)}))
got = []
for _ in range(200):
    r, next = read(next)
    got += r
    if len(got) == 2: break
    time.sleep(0.05)
assert got[1]['userIdentity'] == {'PrincipalId': 'dynamodb.amazonaws.com', 'Type': 'Service'} and got[1]['eventName'] == 'REMOVE' and 'userIdentity' not in got[0], got
db.delete_table(TableName='air')
r, after = read(next)
assert r == [] and after is None, (r, after)
d = st.describe_stream(StreamArn=arn)['StreamDescription']
assert d['StreamStatus'] == 'DISABLED' and 'EndingSequenceNumber' in d['Shards'][0]['SequenceNumberRange'], d
def refused(f, **kw):
    try: f(**kw)
    except ClientError as e: assert e.response['Error']['Code'] == 'ValidationException', e
    else: raise Exception('not refused: %r' % kw)
refused(st.get_records, ShardIterator='x' * 20)
refused(st.describe_stream, StreamArn='x' * 40)
refused(st.list_streams, ExclusiveStartStreamArn='x' * 40)
refused(st.get_shard_iterator, StreamArn='x' * 40, ShardId=shard, ShardIteratorType='LATEST')
for kind in 'LATEST', 'TRIM_HORIZON': refused(begin, kind=kind, SequenceNumber=numbers[0])
print('ok')
`

// TestBotoStreams takes boto3 through a stream.
func TestBotoStreams(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	server, _ := serve(t)
	out, err := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", streamScript, server.URL).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Fatalf("%v\n%s", err, out)
	}
}

func FuzzIterator(f *testing.F) {
	f.Add(iterator{"arn:aws:dynamodb:us-east-1:000000000001:table/air/stream/x", 7, time.UnixMilli(1)}.String())
	f.Add("a|1|AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		i, ok := parseIterator(text)
		if !ok {
			return
		}
		if again, ok := parseIterator(i.String()); !ok || again != i {
			t.Errorf("%q is %+v, and then %+v", text, i, again)
		}
	})
}
