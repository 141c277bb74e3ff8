# A session with boto3: types, groups, billing groups and their policies.
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

iot = boto3.client(
    "iot", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="secret",
    config=Config(retries={"max_attempts": 1}),
)


def refused(code, text, call, **args):
    try:
        call(**args)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code and text in e.response["Error"]["Message"], e
        return e.response
    raise AssertionError("%s was not refused" % args)


def pages(name, member, **args):
    return [x for page in iot.get_paginator(name).paginate(**args) for x in page[member]]


iot.create_thing_type(thingTypeName="board", thingTypeProperties={"searchableAttributes": ["room"]})
for i in range(60):
    kind = {"thingTypeName": "board"} if i % 2 else {}
    iot.create_thing(thingName="t%02d" % i, attributePayload={"attributes": {"room": "r%d" % (i % 3)}}, **kind)
first = iot.list_things()
assert len(first["things"]) == 50 and len(iot.list_things(nextToken=first["nextToken"])["things"]) == 10
assert len(pages("list_things", "things", thingTypeName="board", PaginationConfig={"PageSize": 7})) == 30
assert len(pages("list_things", "things", attributeName="room", attributeValue="r1", PaginationConfig={"PageSize": 7})) == 20
assert len(pages("list_things", "things", attributeName="room", attributeValue="r", usePrefixAttributeValue=True)) == 60
assert len(pages("list_things", "things", attributeName="room", attributeValue="r")) == 0

house = iot.create_thing_group(thingGroupName="house")
iot.create_thing_group(thingGroupName="roof", parentGroupName="house")
for i in range(3):
    iot.add_thing_to_thing_group(thingGroupName="roof", thingName="t%02d" % i)
assert pages("list_things_in_thing_group", "things", thingGroupName="house", recursive=True, PaginationConfig={"PageSize": 2}) == ["t00", "t01", "t02"]
assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="t01")["thingGroups"]] == ["roof"]
meta = iot.describe_thing_group(thingGroupName="roof")["thingGroupMetadata"]
assert meta["rootToParentThingGroups"] == [{"groupName": "house", "groupArn": house["thingGroupArn"]}] and meta["creationDate"].year > 2000
refused("InvalidRequestException", "still child groups attached", iot.delete_thing_group, thingGroupName="house")
refused("VersionConflictException", "expected was 4", iot.update_thing, thingName="t00", expectedVersion=4)

iot.create_billing_group(billingGroupName="money", tags=[{"Key": "a", "Value": "b"}])
iot.add_thing_to_billing_group(billingGroupName="money", thingName="t00")
assert iot.describe_thing(thingName="t00")["billingGroupName"] == "money"

document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}}'
iot.create_policy(policyName="p", policyDocument=document)
for i in range(4):
    iot.create_policy_version(policyName="p", policyDocument=document, setAsDefault=i == 1)
refused("VersionsLimitExceededException", "maximum number of versions (5)", iot.create_policy_version, policyName="p", policyDocument=document)
assert iot.get_policy(policyName="p")["defaultVersionId"] == "3"
refused("InvalidRequestException", "default version", iot.delete_policy_version, policyName="p", policyVersionId="3")
iot.attach_policy(policyName="p", target=house["thingGroupArn"])
roof = iot.describe_thing_group(thingGroupName="roof")["thingGroupArn"]
assert iot.list_attached_policies(target=roof)["policies"] == []
assert pages("list_attached_policies", "policies", target=roof, recursive=True)[0]["policyName"] == "p"
assert pages("list_targets_for_policy", "targets", policyName="p") == [house["thingGroupArn"]]
cert = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
iot.attach_thing_principal(thingName="t00", principal=cert)
assert [p["policyName"] for p in iot.get_effective_policies(principal=cert, thingName="t00")["effectivePolicies"]] == ["p"]
arn = "arn:aws:iot:us-east-1:000000000001:topic/a"
result = iot.test_authorization(principal=cert, authInfos=[{"actionType": "PUBLISH", "resources": [arn]}, {"actionType": "RECEIVE", "resources": [arn]}])["authResults"]
assert [r["authDecision"] for r in result] == ["ALLOWED", "IMPLICIT_DENY"], result
iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
hits = iot.search_index(queryString="thingName:t0? AND NOT thingName:t01", maxResults=2)
assert [t["thingName"] for t in hits["things"]] == ["t00", "t02"] and "nextToken" in hits, hits
refused("InvalidQueryException", "is missing", iot.search_index, queryString="thingName:a AND")
answer = refused("NotImplementedException", "CreateDynamicThingGroup", iot.create_dynamic_thing_group, thingGroupName="a", queryString="a")
assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501
print("done")
