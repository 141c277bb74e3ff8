package dynamodb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// TestStatementPages follows NextToken over pages of every size, over
// partitions and whole tables, in both directions.
func TestStatementPages(t *testing.T) {
	c := client(t)
	makeAir(t, c)
	for i := range 12 {
		_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("air"), Item: map[string]types.AttributeValue{"id": str(fmt.Sprint(i % 3)), "time": str(fmt.Sprintf("%02d", i)), "n": num(fmt.Sprint(i))}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for statement, want := range map[string]string{
		`SELECT "time" FROM air WHERE id = '1'`:                                       "01 04 07 10",
		`SELECT "time" FROM air WHERE id = '1' AND n <> 4 ORDER BY "time" DESC`:       "10 07 01",
		`SELECT "time" FROM air WHERE id IN ['2', 'none', '0'] AND "time" > '02'`:     "05 08 11 03 06 09",
		`SELECT "time" FROM air WHERE id IN ['2', '1'] AND n > 100`:                   "",
		`SELECT "time" FROM air WHERE n BETWEEN 3 AND 4 AND ("time" = '03' OR n = 4)`: "03 04",
	} {
		for limit := int32(1); limit < 6; limit++ {
			var got []string
			in := &dynamodb.ExecuteStatementInput{Statement: &statement, Limit: &limit}
			for pages := 0; ; pages++ {
				r, err := c.ExecuteStatement(t.Context(), in)
				if err != nil || pages > 30 {
					t.Fatalf("%s: page %d: %v", statement, pages, err)
				}
				if len(r.Items) > int(limit) {
					t.Errorf("%s: %d items, limit %d", statement, len(r.Items), limit)
				}
				for _, it := range r.Items {
					got = append(got, it["time"].(*types.AttributeValueMemberS).Value)
				}
				if in.NextToken = r.NextToken; in.NextToken == nil {
					break
				}
			}
			if !strings.Contains(statement, "id ") { // a scan has no order
				if got = append([]string{}, got...); len(got) == 2 && got[0] > got[1] {
					got[0], got[1] = got[1], got[0]
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s by %d: got %v, want %s", statement, limit, got, want)
			}
		}
	}
	r, err := c.ExecuteStatement(t.Context(), &dynamodb.ExecuteStatementInput{Statement: aws.String(`SELECT * FROM air WHERE id = '1'`), Limit: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ExecuteStatement(t.Context(), &dynamodb.ExecuteStatementInput{Statement: aws.String(`SELECT * FROM air WHERE id = '2'`), NextToken: r.NextToken})
	if err == nil || !strings.Contains(err.Error(), "NextToken does not match request") {
		t.Errorf("the token of another statement: %v", err)
	}
}

// TestStatementOnIndex reads a global index by its own key.
func TestStatementOnIndex(t *testing.T) {
	server, _ := serve(t)
	must(t, server, "CreateTable", `{"TableName":"idx","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],
		"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"},{"AttributeName":"g","AttributeType":"S"},{"AttributeName":"n","AttributeType":"N"}],
		"GlobalSecondaryIndexes":[{"IndexName":"by-g","KeySchema":[{"AttributeName":"g","KeyType":"HASH"},{"AttributeName":"n","KeyType":"RANGE"}],"Projection":{"ProjectionType":"ALL"}}]}`)
	for i := range 4 {
		must(t, server, "ExecuteStatement", fmt.Sprintf(`{"Statement":"INSERT INTO idx VALUE {'a': '%d', 'g': 'x', 'n': %d}"}`, i, i))
	}
	got := must(t, server, "ExecuteStatement", `{"Statement":"SELECT a FROM idx.\"by-g\" WHERE g = 'x' AND n >= 1 AND a <> '2' ORDER BY n DESC"}`)
	if want := `{"Items":[{"a":{"S":"3"}},{"a":{"S":"1"}}]}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestSDKTransactions(t *testing.T) {
	c := client(t)
	makeAir(t, c)
	key := map[string]types.AttributeValue{"id": str("1"), "time": str("a")}
	put := types.TransactWriteItem{Put: &types.Put{TableName: aws.String("air"), Item: key, ConditionExpression: aws.String("attribute_not_exists(id)"), ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}}
	in := &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{put}}
	if _, err := c.TransactWriteItems(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.ClientRequestToken = nil // the SDK has put one there: the second shall have its own
	_, err := c.TransactWriteItems(t.Context(), in)
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || len(cancelled.CancellationReasons) != 1 || *cancelled.CancellationReasons[0].Code != "ConditionalCheckFailed" || len(cancelled.CancellationReasons[0].Item) != 2 {
		t.Errorf("got %v", err)
	}
	got, err := c.TransactGetItems(t.Context(), &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{{Get: &types.Get{TableName: aws.String("air"), Key: key}}}})
	if err != nil || len(got.Responses) != 1 || len(got.Responses[0].Item) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

const botoStatements = `
import sys, boto3
c = boto3.client("dynamodb", endpoint_url=sys.argv[1], region_name="eu-west-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")
c.create_table(TableName="bank", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
c.get_waiter("table_exists").wait(TableName="bank")
c.batch_execute_statement(Statements=[{"Statement": "INSERT INTO bank VALUE {'id': ?, 'n': ?}", "Parameters": [{"S": i}, {"N": "10"}]} for i in "ab"])
def move(n):
    return [{"Statement": "UPDATE bank SET n = n - ? WHERE id = 'a' AND n >= ?", "Parameters": [{"N": n}, {"N": n}]},
            {"Statement": "UPDATE bank SET n = n + ? WHERE id = 'b'", "Parameters": [{"N": n}]}]
c.execute_transaction(TransactStatements=move("7"))
try:
    c.execute_transaction(TransactStatements=move("7"))
except c.exceptions.TransactionCanceledException as e:
    print([r["Code"] for r in e.response["CancellationReasons"]])
for page in c.execute_statement(Statement="SELECT n FROM bank WHERE id IN ['a', 'b']")["Items"]:
    print(page["n"]["N"])
try:
    c.execute_statement(Statement="INSERT INTO bank VALUE {'id': 'a'}")
except c.exceptions.DuplicateItemException as e:
    print(e.response["Error"]["Message"])
`

func TestBoto3Statements(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	server, _ := serve(t)
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", botoStatements, server.URL)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if want := "['ConditionalCheckFailed', 'None']\n3\n17\nDuplicate primary key exists in table\n"; string(out) != want {
		t.Errorf("got %s\nwant %s", out, want)
	}
}

// TestAWSCommandLineStatements has the AWS CLI do what people type.
func TestAWSCommandLineStatements(t *testing.T) {
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed")
	}
	server, _ := serve(t)
	must(t, server, "CreateTable", createAir)
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), cli, append([]string{"dynamodb", "--endpoint-url", server.URL, "--region", "eu-west-1", "--output", "json"}, args...)...)
		cmd.Env = append(cmd.Environ(), "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true")
		out, _ := cmd.CombinedOutput()
		var b bytes.Buffer
		if json.Compact(&b, out) != nil {
			return strings.TrimSpace(string(out))
		}
		return b.String()
	}
	run("execute-statement", "--statement", "INSERT INTO air VALUE {'id': '1', 'time': 'a', 'dust': 35.20}")
	if got, want := run("execute-statement", "--statement", "SELECT dust FROM air WHERE id = ?", "--parameters", `[{"S":"1"}]`), `{"Items":[{"dust":{"N":"35.2"}}]}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	got := run("transact-write-items", "--client-request-token", "t1", "--transact-items", `[{"Delete":{"TableName":"air","Key":{"id":{"S":"1"},"time":{"S":"a"}},"ConditionExpression":"dust > :d","ExpressionAttributeValues":{":d":{"N":"100"}}}}]`)
	if !strings.Contains(got, "TransactionCanceledException") || !strings.Contains(got, "[ConditionalCheckFailed]") {
		t.Errorf("got %s", got)
	}
}
