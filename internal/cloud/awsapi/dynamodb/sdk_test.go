package dynamodb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"

	"mote/internal/watch"
)

// sdkOn is the SDK on a server. What it warns of in answers fails the test.
func sdkOn(t *testing.T, url string) *dynamodb.Client {
	log := &watch.Log{}
	t.Cleanup(func() {
		if text := log.String(); text != "" {
			t.Errorf("the SDK logged %s", text)
		}
	})
	return dynamodb.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(url), Logger: logging.NewStandardLogger(log),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

func client(t *testing.T) *dynamodb.Client {
	server, _ := serve(t)
	return sdkOn(t, server.URL)
}

func str(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }
func num(text string) types.AttributeValue { return &types.AttributeValueMemberN{Value: text} }

func makeAir(t *testing.T, c *dynamodb.Client) {
	t.Helper()
	made, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("air"), BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("time"), KeyType: types.KeyTypeRange}},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("time"), AttributeType: types.ScalarAttributeTypeS}},
		Tags: []types.Tag{{Key: aws.String("site"), Value: aws.String("roof")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := made.TableDescription; d.TableStatus != types.TableStatusCreating || time.Since(*d.CreationDateTime).Abs() > time.Minute {
		t.Errorf("status %s, created %v", d.TableStatus, d.CreationDateTime)
	}
	if err := dynamodb.NewTableExistsWaiter(c).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("air")}, time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestSDKTables(t *testing.T) {
	c := client(t)
	makeAir(t, c)
	d, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("air")})
	if err != nil {
		t.Fatal(err)
	}
	if d.Table.TableStatus != types.TableStatusActive || *d.Table.KeySchema[1].AttributeName != "time" || *d.Table.TableArn != "arn:aws:dynamodb:us-east-1:000000000001:table/air" {
		t.Errorf("%+v", d.Table)
	}
	tags, err := c.ListTagsOfResource(t.Context(), &dynamodb.ListTagsOfResourceInput{ResourceArn: d.Table.TableArn})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Value != "roof" {
		t.Errorf("%+v, %v", tags, err)
	}
	list, err := c.ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil || len(list.TableNames) != 1 || list.LastEvaluatedTableName != nil {
		t.Errorf("%+v, %v", list, err)
	}
	gone, err := c.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("air")})
	if err != nil || gone.TableDescription.TableStatus != types.TableStatusDeleting || gone.TableDescription.KeySchema != nil || gone.TableDescription.CreationDateTime != nil {
		t.Fatalf("%+v, %v", gone, err)
	}
	if err := dynamodb.NewTableNotExistsWaiter(c).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("air")}, time.Second); err != nil {
		t.Error(err)
	}
}

func TestSDKItems(t *testing.T) {
	c := client(t)
	makeAir(t, c)
	ctx := t.Context()
	key := map[string]types.AttributeValue{"id": str("1"), "time": str("2026-11-22T10:15:30.123Z")}
	item := map[string]types.AttributeValue{
		"id": key["id"], "time": key["time"], "dust": num("35.20"), "ok": &types.AttributeValueMemberBOOL{Value: true}, "none": &types.AttributeValueMemberNULL{Value: true},
		"raw": &types.AttributeValueMemberB{Value: []byte{0, 255}}, "tags": &types.AttributeValueMemberSS{Value: []string{"b", "a"}},
		"list": &types.AttributeValueMemberL{Value: []types.AttributeValue{num("1"), str("zwei ü \" <")}}, "map": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"x": num("-0")}},
	}
	put, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("air"), Item: item, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
	if err != nil || *put.ConsumedCapacity.CapacityUnits != 1 {
		t.Fatalf("%+v, %v", put, err)
	}
	got, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("air"), Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if n := got.Item["dust"].(*types.AttributeValueMemberN).Value; n != "35.2" {
		t.Errorf("dust %s", n)
	}
	if s := got.Item["list"].(*types.AttributeValueMemberL).Value[1].(*types.AttributeValueMemberS).Value; s != "zwei ü \" <" {
		t.Errorf("text %q", s)
	}
	if n := got.Item["map"].(*types.AttributeValueMemberM).Value["x"].(*types.AttributeValueMemberN).Value; n != "0" || len(got.Item) != len(item) {
		t.Errorf("item %v", got.Item)
	}
	_, err = c.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String("air"), Item: key, ConditionExpression: aws.String("attribute_not_exists(id)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || *failed.Message != "The conditional request failed" || len(failed.Item) != len(item) {
		t.Errorf("got %v", err)
	}
	old, err := c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String("air"), Key: key, ReturnValues: types.ReturnValueAllOld})
	if err != nil || len(old.Attributes) != len(item) {
		t.Errorf("%+v, %v", old, err)
	}
	none, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("air"), Key: key})
	if err != nil || none.Item != nil {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestSDKBatchesAndPages(t *testing.T) {
	c := client(t)
	makeAir(t, c)
	ctx := t.Context()
	const n = 60
	var requests []types.WriteRequest
	for i := range n {
		item := map[string]types.AttributeValue{"id": str(fmt.Sprint(i % 2)), "time": str(fmt.Sprintf("%03d", i)), "dust": num(fmt.Sprint(i))}
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
	}
	for len(requests) > 0 {
		k := min(25, len(requests))
		r, err := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"air": requests[:k]}})
		if err != nil || len(r.UnprocessedItems) != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		requests = requests[k:]
	}
	var times []string
	pages := dynamodb.NewQueryPaginator(c, &dynamodb.QueryInput{
		TableName: aws.String("air"), Limit: aws.Int32(7), ScanIndexForward: aws.Bool(false),
		KeyConditionExpression: aws.String(":low <= #t AND id = :id"), FilterExpression: aws.String("dust <> :skip"), ProjectionExpression: aws.String("#t"),
		ExpressionAttributeNames:  map[string]string{"#t": "time"},
		ExpressionAttributeValues: map[string]types.AttributeValue{":id": str("1"), ":low": str("010"), ":skip": num("33.0")},
	})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			if len(it) != 1 {
				t.Errorf("projected item %v", it)
			}
			times = append(times, it["time"].(*types.AttributeValueMemberS).Value)
		}
	}
	var want []string
	for i := n - 1; i >= 10; i-- {
		if i%2 == 1 && i != 33 {
			want = append(want, fmt.Sprintf("%03d", i))
		}
	}
	if strings.Join(times, " ") != strings.Join(want, " ") {
		t.Errorf("got %v\nwant %v", times, want)
	}
	count, err := c.Scan(ctx, &dynamodb.ScanInput{TableName: aws.String("air"), Select: types.SelectCount})
	if err != nil || count.Count != n || count.Items != nil {
		t.Errorf("%+v, %v", count, err)
	}
	got, err := c.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"air": {
		ProjectionExpression: aws.String("dust"),
		Keys:                 []map[string]types.AttributeValue{{"id": str("0"), "time": str("004")}, {"id": str("0"), "time": str("none")}}}}})
	if err != nil || len(got.Responses["air"]) != 1 || len(got.Responses["air"][0]) != 1 || len(got.UnprocessedKeys) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

const botoScript = `
import sys, boto3
from decimal import Decimal
from boto3.dynamodb.conditions import Key, Attr
db = boto3.resource("dynamodb", endpoint_url=sys.argv[1], region_name="eu-west-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")
t = db.create_table(TableName="air", BillingMode="PAY_PER_REQUEST",
    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "n", "AttributeType": "N"}])
t.wait_until_exists()
with t.batch_writer() as w:
    for i in range(40):
        w.put_item(Item={"id": "b", "n": Decimal(i - 20), "dust": Decimal("35.2"), "blob": b"\x00\x01", "set": {1, 2}})
r = t.query(KeyConditionExpression=Key("id").eq("b") & Key("n").between(-2, 2), FilterExpression=Attr("dust").gt(Decimal("35.19")) & Attr("n2").not_exists())
print([int(i["n"]) for i in r["Items"]], r["Items"][0]["blob"].value, sorted(r["Items"][0]["set"]))
try:
    t.put_item(Item={"id": "b", "n": 1}, ConditionExpression=Attr("id").not_exists())
except db.meta.client.exceptions.ConditionalCheckFailedException as e:
    print(e.response["Error"]["Message"])
u = t.update_item(Key={"id": "b", "n": 1}, UpdateExpression="SET #l = list_append(if_not_exists(#l, :e), :v), dust = dust - :d ADD #s :three REMOVE #b",
    ExpressionAttributeNames={"#l": "list", "#s": "set", "#b": "blob"}, ExpressionAttributeValues={":e": [], ":v": ["x"], ":d": Decimal("0.2"), ":three": {3}},
    ConditionExpression=Attr("dust").eq(Decimal("35.2")), ReturnValues="ALL_NEW")["Attributes"]
print(u["dust"], u["list"], sorted(u["set"]), "blob" in u)
print(t.update_item(Key={"id": "new", "n": 0}, AttributeUpdates={"c": {"Action": "ADD", "Value": 5}}, ReturnValues="UPDATED_NEW")["Attributes"])
t.delete()
t.wait_until_not_exists()
`

func TestBoto3(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	server, _ := serve(t)
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", botoScript, server.URL)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	want := "[-2, -1, 0, 1, 2] b'\\x00\\x01' [Decimal('1'), Decimal('2')]\nThe conditional request failed\n" +
		"35 ['x'] [Decimal('1'), Decimal('2'), Decimal('3')] False\n{'c': Decimal('5')}\n"
	if string(out) != want {
		t.Errorf("got %s\nwant %s", out, want)
	}
}

// TestCommandLines runs the AWS CLIs that are installed: Debian's and the
// current one differ in how they sign, compress and read answers.
func TestCommandLines(t *testing.T) {
	current, _ := exec.LookPath("aws")
	ran := map[string]bool{"": true}
	for _, aws := range []string{"/usr/bin/aws", current} {
		if _, err := exec.LookPath(aws); err != nil || ran[aws] {
			continue
		}
		ran[aws] = true
		t.Run(aws, func(t *testing.T) {
			t.Parallel()
			commandLine(t, aws)
		})
	}
	if len(ran) == 1 {
		t.Skip("no AWS CLI is installed")
	}
}

func commandLine(t *testing.T, aws string) {
	server, _ := serve(t)
	must(t, server, "CreateTable", createAir)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), aws, append([]string{"dynamodb", "--endpoint-url", server.URL, "--region", "us-east-1", "--output", "json"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "failed: " + string(out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	const key = `{"id":{"S":"1"},"time":{"S":"t"}}`
	for _, c := range []struct {
		want string
		args []string
	}{
		{`{ "Attributes": { "n": { "N": "1" } } }`, []string{"update-item", "--table-name", "air", "--key", key, "--update-expression", "ADD n :one", "--expression-attribute-values", `{":one":{"N":"1"}}`, "--return-values", "UPDATED_NEW"}},
		{``, []string{"tag-resource", "--resource-arn", "arn:aws:dynamodb:us-east-1:000000000001:table/air", "--tags", "Key=site,Value=roof"}},
	} {
		if got := run(c.args...); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("aws %s: %s\nwant %s", strings.Join(c.args, " "), got, c.want)
		}
	}
}

func TestBackupsBySDK(t *testing.T) {
	c := client(t)
	makeAir(t, c)
	put := func(id string) {
		t.Helper()
		_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("air"), Item: map[string]types.AttributeValue{"id": str(id), "time": str("0"), "n": num("1.5")}})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	made, err := c.CreateBackup(t.Context(), &dynamodb.CreateBackupInput{TableName: aws.String("air"), BackupName: aws.String("nightly")})
	if err != nil || made.BackupDetails.BackupStatus != types.BackupStatusCreating || made.BackupDetails.BackupType != types.BackupTypeUser {
		t.Fatalf("%+v, %v", made, err)
	}
	arn := made.BackupDetails.BackupArn
	put("b")
	for {
		got, err := c.DescribeBackup(t.Context(), &dynamodb.DescribeBackupInput{BackupArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		d := got.BackupDescription
		if d.BackupDetails.BackupStatus == types.BackupStatusAvailable {
			if *d.SourceTableDetails.ItemCount != 1 || *d.SourceTableDetails.TableName != "air" || len(d.SourceTableDetails.KeySchema) != 2 {
				t.Errorf("%+v", d.SourceTableDetails)
			}
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	list, err := c.ListBackups(t.Context(), &dynamodb.ListBackupsInput{TableName: aws.String("air"), TimeRangeUpperBound: aws.Time(time.Now().Add(time.Minute)), TimeRangeLowerBound: aws.Time(time.Now().Add(-time.Minute)), Limit: aws.Int32(1)})
	if err != nil || len(list.BackupSummaries) != 1 || *list.BackupSummaries[0].BackupArn != *arn || list.LastEvaluatedBackupArn != nil {
		t.Errorf("%+v, %v", list, err)
	}
	if after, err := c.ListBackups(t.Context(), &dynamodb.ListBackupsInput{ExclusiveStartBackupArn: arn}); err != nil || len(after.BackupSummaries) != 0 {
		t.Errorf("%+v, %v", after, err)
	}
	_, err = c.RestoreTableFromBackup(t.Context(), &dynamodb.RestoreTableFromBackupInput{BackupArn: arn, TargetTableName: aws.String("air")})
	if _, ok := errors.AsType[*types.TableAlreadyExistsException](err); !ok {
		t.Errorf("restore over a table: %v", err)
	}
	back, err := c.RestoreTableFromBackup(t.Context(), &dynamodb.RestoreTableFromBackupInput{BackupArn: arn, TargetTableName: aws.String("air2")})
	if err != nil || back.TableDescription.TableStatus != types.TableStatusCreating || *back.TableDescription.RestoreSummary.SourceBackupArn != *arn {
		t.Fatalf("%+v, %v", back, err)
	}
	if err := dynamodb.NewTableExistsWaiter(c).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("air2")}, time.Minute); err != nil {
		t.Fatal(err)
	}
	rows, err := c.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("air2")})
	if err != nil || rows.Count != 1 || rows.Items[0]["id"].(*types.AttributeValueMemberS).Value != "a" {
		t.Errorf("%+v, %v", rows, err)
	}
	gone, err := c.DeleteBackup(t.Context(), &dynamodb.DeleteBackupInput{BackupArn: arn})
	if err != nil || gone.BackupDescription.BackupDetails.BackupStatus != types.BackupStatusDeleted {
		t.Errorf("%+v, %v", gone, err)
	}
	_, err = c.DescribeBackup(t.Context(), &dynamodb.DescribeBackupInput{BackupArn: arn})
	if _, ok := errors.AsType[*types.BackupNotFoundException](err); !ok {
		t.Errorf("a deleted backup: %v", err)
	}
	_, err = c.CreateBackup(t.Context(), &dynamodb.CreateBackupInput{TableName: aws.String("none"), BackupName: aws.String("nightly")})
	if _, ok := errors.AsType[*types.TableNotFoundException](err); !ok {
		t.Errorf("a backup of nothing: %v", err)
	}
	_, err = c.RestoreTableFromBackup(t.Context(), &dynamodb.RestoreTableFromBackupInput{BackupArn: arn, TargetTableName: aws.String("air3"), GlobalSecondaryIndexOverride: []types.GlobalSecondaryIndex{}})
	if err == nil || !strings.Contains(err.Error(), "mote does not offer GlobalSecondaryIndexOverride") {
		t.Errorf("an override that is not offered: %v", err)
	}
}
