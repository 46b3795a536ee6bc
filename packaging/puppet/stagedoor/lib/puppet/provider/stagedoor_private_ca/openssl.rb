# frozen_string_literal: true

require 'openssl'

Puppet::Type.type(:stagedoor_private_ca).provide(:openssl) do
  desc "With Ruby's own OpenSSL."

  def look
    cas = certificates(resource[:path])
    lists = lists_of(resource[:crl])
    refuse_common(cas, certificates(resource[:puppet_ca]))
    cas.each do |ca|
      refuse_certificate(ca)
      refuse_list(ca, lists.find { |list| list.issuer.eql?(ca.subject) && list.verify(ca.public_key) })
    end
  end

  private

  def certificates(path)
    found = read(path).scan(%r{-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----}m)
    raise Puppet::Error, "#{path} holds no certificate in PEM" if found.empty?

    found.map { |pem| OpenSSL::X509::Certificate.new(pem) }
  rescue OpenSSL::X509::CertificateError => e
    raise Puppet::Error, "#{path} holds a certificate that cannot be read: #{e.message}"
  end

  def lists_of(path)
    read(path).scan(%r{-----BEGIN X509 CRL-----.+?-----END X509 CRL-----}m).map { |pem| OpenSSL::X509::CRL.new(pem) }
  rescue OpenSSL::X509::CRLError => e
    raise Puppet::Error, "#{path} holds a revocation list that cannot be read: #{e.message}"
  end

  def read(path)
    text = File.read(path)
    raise Puppet::Error, "#{path} holds a private key, which belongs nowhere but where the CA is kept" if text.include?('PRIVATE KEY')

    text
  rescue SystemCallError => e
    raise Puppet::Error, "#{path} cannot be read: #{e.message}"
  end

  def refuse_common(cas, puppet)
    keys = puppet.map { |ca| ca.public_key.to_der }
    return if cas.none? { |ca| keys.include?(ca.public_key.to_der) }

    raise Puppet::Error, "#{resource[:path]} is of the Puppet CA: every agent would get in and be whoever it says. " \
                         'Give the certificate of the private CA made by `stagedoor door-ca init`'
  end

  def refuse_certificate(ca)
    constraints = ca.extensions.find { |extension| extension.oid == 'basicConstraints' }
    unless constraints&.value&.include?('CA:TRUE')
      raise Puppet::Error, "#{resource[:path]}: #{ca.subject} is no CA's certificate"
    end

    refuse_ended("#{resource[:path]}: the certificate of #{ca.subject}", ca.not_after)
  end

  def refuse_list(ca, list)
    if list.nil?
      raise Puppet::Error, "#{resource[:crl]} has no revocation list signed by #{ca.subject}: Puppet Server would turn every door away. " \
                           'Give one for each certificate of the CA, an empty one if nobody is revoked'
    end
    refuse_ended("#{resource[:crl]}: the revocation list of #{ca.subject}", list.next_update)
  end

  def refuse_ended(what, ends)
    return if ends.nil?

    left = ends - Time.now
    raise Puppet::Error, "#{what} ran out on #{ends}: Puppet Server would turn every door away. Renew it" if left.negative?

    soon = 30 * 24 * 60 * 60
    Puppet.warning("#{what} runs out on #{ends}; then Puppet Server turns every door away") if left < soon
  end
end
