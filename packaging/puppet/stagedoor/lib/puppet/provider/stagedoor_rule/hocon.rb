# frozen_string_literal: true

require_relative '../../../puppet_x/stagedoor/document'

Puppet::Type.type(:stagedoor_rule).provide(:hocon) do
  desc 'With the hocon gem, which Puppet and Facter bring.'

  confine feature: :hocon

  def exists?
    !found.nil?
  end

  def create
    @wanted = true
  end

  def destroy
    document.remove_rule(resource[:name])
    document.write
  end

  def match_path
    found.dig('match-request', 'path')
  end

  def match_method
    found.dig('match-request', 'method')
  end

  def allow
    Array(found['allow'])
  end

  def sort_order
    found['sort-order']
  end

  %i[match_path match_method allow sort_order].each do |property|
    define_method(:"#{property}=") { |_value| @wanted = true }
  end

  def flush
    return unless @wanted

    document.put_rule(rule)
    document.write
  end

  private

  def document
    @document ||= PuppetX::Stagedoor::Document.read(resource[:path])
  end

  def found
    document.rule(resource[:name])
  end

  def rule
    {
      'match-request' => { 'path' => resource[:match_path], 'type' => 'path', 'method' => resource[:match_method].to_s },
      'allow' => resource[:allow],
      'sort-order' => resource[:sort_order],
      'name' => resource[:name],
    }
  end
end
