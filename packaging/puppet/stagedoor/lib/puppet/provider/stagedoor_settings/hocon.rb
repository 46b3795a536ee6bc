# frozen_string_literal: true

require_relative '../../../puppet_x/stagedoor/document'

Puppet::Type.type(:stagedoor_settings).provide(:hocon) do
  desc 'With the hocon gem, which Puppet and Facter bring.'

  confine feature: :hocon

  def settings
    document = read
    resource[:settings].keys.to_h { |key| [key, document.value(key)] }
  end

  def settings=(wanted)
    wanted.each { |key, value| document.set(key, value) unless document.value(key).to_s == value.to_s }
  end

  def remove
    document = read
    resource[:remove].reject { |key| document.value(key).nil? }
  end

  def remove=(keys)
    keys.each { |key| document.remove(key) }
  end

  def flush
    @document&.write
  end

  private

  def document
    @document ||= read
  end

  def read
    document = PuppetX::Stagedoor::Document.read(resource[:path])
    (resource[:refuse] || []).each do |key|
      next if document.value(key).nil?

      raise Puppet::Error, "#{resource[:path]} has #{key}, which a sealed master must not have: it would answer there " \
                           'without TLS. Remove it first'
    end
    document
  end
end
