# frozen_string_literal: true

# What the module's editing of HOCON files promises: a setting or rule goes in and comes out again, the rest stays as it
# was, or the file is refused. Run it with the Ruby that runs Puppet: `ruby spec/document.rb`. Silent when all is well.

$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))
require 'puppet'
require 'puppet_x/stagedoor/document'

RULE = {
  'match-request' => { 'path' => '/a', 'type' => 'path', 'method' => 'delete' },
  'allow' => ['door1.example.com'], 'sort-order' => 300, 'name' => 'stagedoor environment cache'
}.freeze
SWITCH = 'authorization.allow-header-cert-info'

def document(text)
  PuppetX::Stagedoor::Document.new('auth.conf', text)
end

def promise(what, kept)
  abort "spec/document.rb: #{what}" unless kept
end

# Files as people and programs write them; the second word says whether the way back gives the very bytes.
{
  "authorization: {\n    version: 1\n    rules: [\n        {\n            name: \"x\" # [ {\n        }\n    ]\n}\n" => :bytes,
  "{\n  \"authorization\": {\n    \"version\": 1,\n    \"rules\": [\n      {\"name\": \"x\"}\n    ]\n  }\n}\n" => :bytes,
  "authorization: {\r\n    rules: [\r\n        { name: x }\r\n    ]\r\n}\r\n" => :bytes,
  "a: 3\nauthorization: {\n  version: ${a}\n  z: ${?HOME}\n  rules: [\n    {name: x}\n  ]\n}\n" => :bytes,
  'authorization: {version: 1, rules: [{name: "x", allow: "*"}]}' => :meaning,
  "authorization: {\n rules: []\n}\n" => :meaning,
  "authorization {\n  # rules: [ no\n  rules = [ # first [\n    // b\n    { name: x }\n    { name: y },\n  ]\n}\n" => :meaning,
  "authorization.rules: [\n  {name: x}\n]\nauthorization.version: 1\n" => :meaning
}.each do |text, back|
  before = document(text).value('authorization.rules')
  one = document(text)
  one.put_rule(RULE)
  one.set(SWITCH, true)
  two = document(one.text)
  promise("the rule is not first in:\n#{two.text}", two.value('authorization.rules') == [RULE] + before)
  promise("the switch is not on in:\n#{two.text}", two.value(SWITCH) == true)
  text.scan(%r{(?:#|//)[^\n\r]*}).each { |comment| promise("#{comment} is gone from:\n#{two.text}", two.text.include?(comment)) }

  two.put_rule(RULE.merge('allow' => ['door2.example.com']))
  promise("the rule is there twice in:\n#{two.text}", two.value('authorization.rules').length == before.length + 1)

  three = document(two.text)
  three.remove_rule(RULE['name'])
  three.remove(SWITCH)
  promise("another meaning came back:\n#{three.text}", three.value('authorization.rules') == before && three.value(SWITCH).nil?)
  promise("other bytes came back:\n#{three.text}", three.text == text) if back == :bytes
end

# What cannot be changed without changing more is refused and left as it is.
[
  "authorization: { rules: [ {name: a} ] }\nauthorization: { rules: [\n {name: b} ] }\n",
  "authorization: { rules: [ {name: a} ] }\nauthorization.rules += {name: b}\n",
  "authorization: { version: 1 }\n"
].each do |text|
  one = document(text)
  begin
    one.put_rule(RULE)
    abort "spec/document.rb: not refused:\n#{text}"
  rescue Puppet::Error
    promise("refused and changed:\n#{one.text}", one.text == text)
  end
end

begin
  document("authorization: {\n")
  abort 'spec/document.rb: half a file was not refused'
rescue Puppet::Error => e
  promise('the refusal does not name the file', e.message.include?('auth.conf'))
end
