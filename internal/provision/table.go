package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/config"
)

// tableWait is how long a new table may take to become active.
const tableWait = 2 * time.Minute

func (a *applier) table(ctx context.Context, t config.Table) error {
	got, err := a.ddb.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.Name})
	if err == nil {
		return sameKeys(got.Table, t)
	}
	if !hasCode(err, "ResourceNotFoundException") {
		return err
	}
	in := &dynamodb.CreateTableInput{TableName: &t.Name, BillingMode: types.BillingModePayPerRequest}
	add := func(name, kind string, role types.KeyType) {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeType(kind)})
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String(name), KeyType: role})
	}
	add(t.Hash, t.HashType, types.KeyTypeHash)
	if t.Range != "" {
		add(t.Range, t.RangeType, types.KeyTypeRange)
	}
	if _, err := a.ddb.CreateTable(ctx, in); err != nil {
		return err
	}
	active := dynamodb.NewTableExistsWaiter(a.ddb, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 5*time.Second
	})
	if err := active.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &t.Name}, tableWait); err != nil {
		return err
	}
	a.made("table", t.Name)
	return nil
}

// sameKeys refuses a table whose keys are not the described ones: keys cannot
// be changed, and dropping a table is nothing that a start should do.
func sameKeys(got *types.TableDescription, want config.Table) error {
	have := map[types.KeyType]string{}
	for _, k := range got.KeySchema {
		have[k.KeyType] = aws.ToString(k.AttributeName)
	}
	if have[types.KeyTypeHash] != want.Hash || have[types.KeyTypeRange] != want.Range {
		return fmt.Errorf("it exists with the keys hash %q and range %q, the file wants %q and %q: delete the table or choose another name",
			have[types.KeyTypeHash], have[types.KeyTypeRange], want.Hash, want.Range)
	}
	return nil
}
