package test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/cloud/table/tabletest"
)

// teller performs the operations of package tabletest over HTTP, on a cloud
// that comes and goes.
type teller struct {
	t     *testing.T
	api   *dynamodb.Client
	token atomic.Int64
}

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func numberOf(it map[string]types.AttributeValue) int64 {
	n, ok := it["n"].(*types.AttributeValueMemberN)
	if !ok {
		return tabletest.Absent
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		panic(err)
	}
	return v
}

func idOf(id string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
}

func values(name string, n int64) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{name: number(n)}
}

// do performs one operation. One that finds nobody listening was not done and
// is tried again. A transfer is tried again, with its token, until it is
// answered: it must be done once however often the cloud dies over it.
func (c *teller) do(op tabletest.Op) tabletest.Result {
	token := strconv.FormatInt(c.token.Add(1), 10)
	for deadline := time.Now().Add(20 * patience * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := c.try(op, token)
		var failed *types.ConditionalCheckFailedException
		var cancelled *types.TransactionCanceledException
		switch again := op.Kind == tabletest.Transfer || errors.Is(err, syscall.ECONNREFUSED); {
		case err == nil:
			return r
		case errors.As(err, &failed), errors.As(err, &cancelled):
			return tabletest.Result{Failed: true}
		case time.Now().After(deadline):
			c.t.Errorf("%+v: no answer for long: %v", op, err)
			return tabletest.Result{Unknown: true}
		case !again:
			return tabletest.Result{Unknown: true}
		}
	}
}

func (c *teller) try(op tabletest.Op, token string) (r tabletest.Result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience*time.Second)
	defer cancel()
	item := idOf(op.Key)
	item["n"] = number(op.New)
	name := aws.String("bank")
	switch op.Kind {
	case tabletest.Get:
		got, err := c.api.GetItem(ctx, &dynamodb.GetItemInput{TableName: name, Key: idOf(op.Key), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return r, err
		}
		r.Value = numberOf(got.Item)
	case tabletest.PutNew:
		_, err = c.api.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: item, ConditionExpression: aws.String("attribute_not_exists(id)")})
	case tabletest.Swap:
		_, err = c.api.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: item, ConditionExpression: aws.String("n = :old"), ExpressionAttributeValues: values(":old", op.Old)})
	case tabletest.Add:
		got, err := c.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: name, Key: idOf(op.Key), UpdateExpression: aws.String("ADD n :v"), ExpressionAttributeValues: values(":v", op.New), ReturnValues: types.ReturnValueUpdatedNew})
		if err != nil {
			return r, err
		}
		r.Value = numberOf(got.Attributes)
	case tabletest.Delete:
		got, err := c.api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: name, Key: idOf(op.Key), ReturnValues: types.ReturnValueAllOld})
		if err != nil {
			return r, err
		}
		r.Value = numberOf(got.Attributes)
	case tabletest.Transfer:
		_, err = c.api.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{ClientRequestToken: &token, TransactItems: []types.TransactWriteItem{
			movement(op.From, "SET n = n - :v", "n >= :v", op.New), movement(op.To, "SET n = n + :v", "attribute_exists(id)", op.New)}})
	case tabletest.Balances:
		return c.balances(ctx)
	}
	return r, err
}

func movement(account int, update, condition string, n int64) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{TableName: aws.String("bank"), Key: idOf(tabletest.Account(account)), UpdateExpression: &update, ConditionExpression: &condition, ExpressionAttributeValues: values(":v", n)}}
}

func (c *teller) balances(ctx context.Context) (r tabletest.Result, err error) {
	in := &dynamodb.TransactGetItemsInput{}
	for i := range tabletest.Accounts {
		in.TransactItems = append(in.TransactItems, types.TransactGetItem{Get: &types.Get{TableName: aws.String("bank"), Key: idOf(tabletest.Account(i))}})
	}
	got, err := c.api.TransactGetItems(ctx, in)
	if err != nil {
		return r, err
	}
	for i := range got.Responses {
		r.Balances[i] = numberOf(got.Responses[i].Item)
	}
	return r, nil
}

// open makes the table with the accounts.
func (c *teller) open() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*patience*time.Second)
	defer cancel()
	_, err := c.api.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String("bank"), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range tabletest.Accounts {
		item := idOf(tabletest.Account(i))
		item["n"] = number(tabletest.Opening)
		if _, err := c.api.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("bank"), Item: item}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestTortureOfTables kills the cloud under clients that write on conditions
// and in transactions: what was acknowledged is there, once, and there is an
// order of it that explains every answer.
func TestTortureOfTables(t *testing.T) {
	s := newSite(t, "")
	s.startCloud()
	c := &teller{t: t, api: dynamodb.NewFromConfig(s.cloud.aws(), func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })}
	c.open()
	history := tabletest.NewHistory()
	var stop atomic.Bool
	var clients sync.WaitGroup
	for client := range 6 {
		clients.Go(func() {
			history.Run(client, func(int) bool {
				time.Sleep(5 * time.Millisecond) // the order is searched for in the end: not too many
				return !stop.Load()
			}, c.do)
		})
	}
	for i := range max(3, *torture) {
		time.Sleep(time.Duration(300+100*(i%3)) * time.Millisecond)
		s.killCloud()
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	clients.Wait()
	history.Check(t)
	total := int64(0)
	r := c.do(tabletest.Op{Kind: tabletest.Balances})
	for _, n := range r.Balances {
		total += n
	}
	if total != tabletest.Accounts*tabletest.Opening {
		t.Error(fmt.Sprint("the accounts hold ", r.Balances, ", which is not what they began with"))
	}
}
