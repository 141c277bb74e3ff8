package dynamodb

import (
	"encoding/json"
	"net/http"
)

// What follows describes features of DynamoDB that no table here has, as it
// describes tables that do not use them: tools that manage tables read it back
// after each change. The operations that would turn the features on are refused.

func (h *Handler) describeInsights(in *input) ([]byte, error) {
	t, err := h.namedTable(in)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"TableName": t.Name, "ContributorInsightsStatus": "DISABLED"}
	if in.indexName != nil {
		if t.IndexNamed(*in.indexName) == nil {
			return nil, &wireError{status: http.StatusBadRequest, space: service, code: "ResourceNotFoundException",
				message: "Requested resource not found: Index: " + quoteless(*in.indexName) + " not found in table: " + t.Name}
		}
		answer["IndexName"] = *in.indexName
	}
	return json.Marshal(answer)
}

func (h *Handler) describeKinesis(in *input) ([]byte, error) {
	t, err := h.namedTable(in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"TableName": t.Name, "KinesisDataStreamDestinations": []any{}})
}

func (h *Handler) getPolicy(in *input) ([]byte, error) {
	if err := in.checkArn(true, ""); err != nil {
		return nil, err
	}
	if _, err := h.tagged(in, in.arnNotFound()); err != nil {
		return nil, err
	}
	return nil, &wireError{status: http.StatusBadRequest, space: service, code: "PolicyNotFoundException",
		message: "Resource-based policy not found for the provided ResourceArn: Requested policy not found: mote keeps none"}
}

func (h *Handler) listInsights(in *input) ([]byte, error) {
	if in.tableName != nil {
		if _, err := in.checkTableName(); err != nil {
			return nil, err
		}
	}
	return []byte(`{"ContributorInsightsSummaries":[]}`), nil
}

func (h *Handler) listImports(*input) ([]byte, error) {
	return []byte(`{"ImportSummaryList":[]}`), nil
}

func (h *Handler) listGlobalTables(*input) ([]byte, error) {
	return []byte(`{"GlobalTables":[]}`), nil
}
