# frozen_string_literal: true

Puppet::Type.newtype(:stagedoor_rule) do
  @doc = <<~DOC
    One rule of Puppet Server's auth.conf that lets named clients send one method to one path. Comments and all other
    rules stay as they are.

        stagedoor_rule { 'stagedoor environment cache':
          path         => '/etc/puppetlabs/puppetserver/conf.d/auth.conf',
          match_path   => '/puppet-admin-api/v1/environment-cache',
          match_method => 'delete',
          allow        => ['door1.example.com'],
        }
  DOC

  ensurable

  newparam(:name, namevar: true) do
    desc 'The name of the rule in auth.conf.'
    validate { |name| raise ArgumentError, "#{name.inspect} is no plain name" unless name.match?(%r{\A[\w .-]+\z}) }
  end

  newparam(:path) do
    desc 'The file.'
    validate { |path| raise ArgumentError, "#{path} is no absolute path" unless Puppet::Util.absolute_path?(path) }
  end

  newproperty(:match_path) do
    desc 'The path of the requests; everything below it too.'
  end

  newproperty(:match_method) do
    desc 'The HTTP method, in lower case.'
    newvalues('delete', 'get', 'head', 'post', 'put')
    munge(&:to_s)
  end

  newproperty(:allow, array_matching: :all) do
    desc 'Exact names of clients.'
    validate do |name|
      raise ArgumentError, "#{name.inspect} is no exact name" unless name.match?(%r{\A[a-z0-9]([a-z0-9._-]*[a-z0-9])?\z})
    end

    def insync?(is)
      is == should
    end
  end

  newproperty(:sort_order) do
    desc 'Where the rule stands among the others, 1 to 999. Those of Puppet are at 500.'
    munge(&:to_i)
    defaultto 300
  end

  autorequire(:file) { self[:path] }
end
