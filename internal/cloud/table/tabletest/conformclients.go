package tabletest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Client is an AWS SDK's client for the server.
func (s *Server) Client() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: &s.URL, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey, ""),
	})
}

func text(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }

func whole(v int) types.AttributeValue { return &types.AttributeValueMemberN{Value: fmt.Sprint(v)} }

// clientRows are in the table of clients: enough for pages.
const clientRows = 60

// waitPause is between two looks of a waiter; by themselves these are 20 s apart.
const waitPause = 20 * time.Millisecond

// clients works as programs with an AWS SDK do: waiters, batches, pages, typed errors.
func (s *Server) clients(t *testing.T) {
	c, ctx, name := s.Client(), t.Context(), aws.String("clients")
	_, err := c.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: name, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("n"), KeyType: types.KeyTypeRange}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("n"), AttributeType: types.ScalarAttributeTypeN}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(c, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay, o.MaxDelay = waitPause, time.Second }).Wait(ctx, &dynamodb.DescribeTableInput{TableName: name}, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	s.fill(t, c, *name)
	var seen []int
	pages := dynamodb.NewQueryPaginator(c, &dynamodb.QueryInput{
		TableName: name, Limit: aws.Int32(7), KeyConditionExpression: aws.String("id = :id AND n >= :n"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":id": text("a"), ":n": whole(-10)},
	})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			var n int
			_, _ = fmt.Sscan(it["n"].(*types.AttributeValueMemberN).Value, &n)
			seen = append(seen, n)
		}
	}
	if len(seen) != clientRows-20 || !slices.IsSorted(seen) || seen[0] != -10 {
		t.Errorf("the pages have %v", seen)
	}
	s.refusals(t, c, *name)
}

func (s *Server) fill(t *testing.T, c *dynamodb.Client, name string) {
	for start := 0; start < clientRows; start += 20 {
		var requests []types.WriteRequest
		for i := start; i < start+20; i++ {
			requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
				"id": text("a"), "n": whole(i - 30), "data": &types.AttributeValueMemberB{Value: []byte{0, 255, byte(i)}},
			}}})
		}
		got, err := c.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{name: requests}})
		if err != nil || len(got.UnprocessedItems) > 0 {
			t.Fatalf("%v, %v", got, err)
		}
	}
}

func (s *Server) refusals(t *testing.T, c *dynamodb.Client, name string) {
	_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: &name, Item: map[string]types.AttributeValue{"id": text("a"), "n": whole(0)}, ConditionExpression: aws.String("attribute_not_exists(id)"),
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		t.Errorf("a condition that does not hold: %v", err)
	}
	_, err = c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("nobody"), Key: map[string]types.AttributeValue{"id": text("a")}})
	var absent *types.ResourceNotFoundException
	if !errors.As(err, &absent) {
		t.Errorf("a table that is not there: %v", err)
	}
	if _, err := c.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
		t.Error(err)
	}
	if err := dynamodb.NewTableNotExistsWaiter(c, func(o *dynamodb.TableNotExistsWaiterOptions) { o.MinDelay, o.MaxDelay = waitPause, time.Second }).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &name}, 20*time.Second); err != nil {
		t.Error(err)
	}
}
